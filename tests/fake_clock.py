"""The time, as a test sets it."""

from datetime import datetime, timedelta

from builders import NOW


class FixedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now

    def now(self) -> datetime:
        """UTC, in whole seconds."""
        return self._now

    def advance(self, **duration: float) -> None:
        """Move on, by the arguments of timedelta."""
        self._now += timedelta(**duration)

    def advance_to(self, moment: datetime) -> None:
        """Move on to a moment that has not passed."""
        assert moment >= self._now
        self._now = moment
