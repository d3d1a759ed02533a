"""The system clock."""

import time
from datetime import UTC, datetime
from typing import Final

_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Only Linux has the first; on macOS, where the command line may run, the second also counts while it is suspended."""


class SystemClock:
    """The Clock port on the system time."""

    def now(self) -> datetime:
        """Return the current UTC time in whole seconds, the precision of Kubernetes timestamps."""
        return datetime.now(UTC).replace(microsecond=0)

    def monotonic(self) -> float:
        """Return seconds since the machine started, including the time for which it was suspended."""
        return time.clock_gettime(_SINCE_BOOT)
