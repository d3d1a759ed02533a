"""The system clock."""

from datetime import UTC, datetime


class SystemClock:
    """The Clock port on the system time."""

    def now(self) -> datetime:
        """Return the current UTC time in whole seconds, the precision of Kubernetes timestamps."""
        return datetime.now(UTC).replace(microsecond=0)
