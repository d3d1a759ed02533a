"""A clock that a test controls."""

from datetime import datetime, timedelta

from builders import NOW


class FixedClock:
    """A clock that only changes when it is advanced."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the time in UTC, in whole seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since the start of this clock."""
        return (self._now - NOW).total_seconds()

    def advance(self, **duration: float) -> None:
        """Advance by the arguments of timedelta."""
        self._now += timedelta(**duration)

    def advance_to(self, moment: datetime) -> None:
        """Advance to a time that is not in the past."""
        assert moment >= self._now
        self._now = moment
