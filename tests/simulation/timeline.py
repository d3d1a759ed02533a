"""Virtual time: what happens later in the model, and the clock that a process of the operator reads."""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from builders import NOW

Happening = Callable[..., None]
"""Something that happens in the model at a time that is known before."""

NEVER: Final = float("inf")


class Timeline:
    """The virtual time in seconds, and what happens later; what happens at the same time keeps its order.

    `outages` is how many outages have an end that is still to come: no history ends before. `outage_ended_at` is when
    the last one ended.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Happening, tuple[Any, ...]]] = []
        self._number = 0
        self.outages = 0
        self.outage_ended_at = NEVER

    def after(self, seconds: float, happening: Happening, *arguments: Any) -> None:
        """Let something happen in so many seconds."""
        self._number += 1
        heapq.heappush(self._heap, (self.now + seconds, self._number, happening, arguments))

    def end_outage_after(self, seconds: float, end: Happening, *arguments: Any) -> None:
        """Let an outage end in so many seconds."""
        self.outages += 1
        self.after(seconds, self._end_outage, end, arguments)

    def _end_outage(self, end: Happening, arguments: tuple[Any, ...]) -> None:
        self.outages -= 1
        self.outage_ended_at = self.now
        end(*arguments)

    @property
    def next_at(self) -> float:
        """When the next thing happens; `NEVER` if nothing does."""
        return self._heap[0][0] if self._heap else NEVER

    def run_due(self) -> bool:
        """Let everything happen that is due now, and return whether anything was."""
        happened = False
        while self._heap and self._heap[0][0] <= self.now:
            _, _, happening, arguments = heapq.heappop(self._heap)
            happening(*arguments)
            happened = True
        return happened


class ProcessClock:
    """The clock of one process: it may be wrong, and its monotonic time means nothing to another process.

    `skew` is by how many seconds the clock is wrong.
    """

    def __init__(self, timeline: Timeline, skew: float) -> None:
        self._timeline, self._started, self._skew = timeline, timeline.now, skew

    def now(self) -> datetime:
        """Return the time in UTC, in whole seconds."""
        return moment(self._timeline.now + self._skew)

    def monotonic(self) -> float:
        """Return the seconds since this process started."""
        return self._timeline.now - self._started


def moment(seconds: float) -> datetime:
    """Return a virtual time as a date, in whole seconds."""
    return NOW + timedelta(seconds=int(seconds))
