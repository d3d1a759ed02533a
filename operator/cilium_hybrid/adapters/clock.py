"""The time of this machine."""

from datetime import UTC, datetime


class SystemClock:
    """UTC in whole seconds, the precision of Kubernetes timestamps."""

    def now(self) -> datetime:
        """UTC, in whole seconds."""
        return datetime.now(UTC).replace(microsecond=0)
