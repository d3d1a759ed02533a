"""Whether a watch delivers events. While it does not, what it last showed may be out of date."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.adapters.clock import SystemClock
from cilium_hybrid.rules.rule import one_line

SILENCE_SECONDS: Final = 150.0
"""Maximum time without data before a watch counts as lost; the API server sends a bookmark about once a minute."""
MAX_LENGTH: Final = 300
"""In characters, of the clause that says why a watch is lost."""
GRACE_SECONDS: Final = 5.0
"""How long a reconciliation waits for a watch to be re-established. An interruption that is shorter is not reported."""

_seconds_since_boot: Final = SystemClock().monotonic


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a watch is lost, in the words of the API server if it answers, and since when, by the clock of its state."""

    since: float
    cause: str


class WatchState:
    """Whether one watch is lost: it was refused, cut or silent, and has not been re-established since.

    `name` is that of the watched objects. `required`: whether decisions rest on it. `changed` is called when a loss has
    lasted for GRACE_SECONDS, when its cause changes after that, and when the watch is re-established. `clock` counts
    the time for which the machine was suspended: a watch may have ended meanwhile.
    """

    def __init__(
        self,
        name: str,
        *,
        required: bool = True,
        changed: Callable[[], None] = lambda: None,
        silence_seconds: float = SILENCE_SECONDS,
        clock: Callable[[], float] = _seconds_since_boot,
    ) -> None:
        self.name, self.required, self.silence_seconds = name, required, silence_seconds
        self._changed, self._clock = changed, clock
        self._heard_at: float | None = None
        self._loss: Loss | None = None
        self._settled = asyncio.Event()
        self._settled.set()
        self._grace: asyncio.TimerHandle | None = None

    @property
    def loss(self) -> Loss | None:
        """Why the watch is lost; None if it is not."""
        if self._loss is None and self._heard_at is not None and self._silent_for() >= self.silence_seconds:
            return Loss(self._heard_at, f"no data for {self.silence_seconds:g} s")
        return self._loss

    @property
    def lost_for(self) -> float:
        """For how many seconds the watch has been lost; 0 if it is not."""
        return 0.0 if self.loss is None else self._clock() - self.loss.since

    def __str__(self) -> str:
        """Return a clause of bounded length that names the watch and why it is lost, if it is."""
        loss = self.loss
        text = f"watch of {self.name}" if loss is None else f"watch of {self.name} is lost: {loss.cause}"
        return one_line(text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…")

    def opened(self) -> None:
        """Record that the API server accepted the watch, which may still end before it delivers anything."""
        self._heard_at = self._clock()

    def established(self) -> bool:
        """Record that the watch works; return whether it was lost before."""
        was_lost = self._end_loss()
        self._heard_at = self._clock()
        return was_lost

    def suspended(self) -> None:
        """Record that there is nothing to watch: the API server does not serve the kind."""
        self._end_loss()
        self._heard_at = None

    def lose(self, cause: str) -> bool:
        """Record that the watch was refused or cut; return whether that, or its cause, is new."""
        before = self.loss
        self._loss = Loss(self._clock() if before is None else before.since, cause)
        if self._grace is None:
            self._settled.clear()
            self._grace = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._end_grace)
        elif self._settled.is_set() and before is not None and before.cause != cause:
            self._changed()
        return before is None or before.cause != cause

    async def wait_until_settled(self) -> None:
        """Return at once, or if the watch was lost just now, when it is back, at the latest after GRACE_SECONDS."""
        await self._settled.wait()

    def _silent_for(self) -> float:
        return 0.0 if self._heard_at is None else self._clock() - self._heard_at

    def _end_grace(self) -> None:
        self._settled.set()
        self._changed()

    def _end_loss(self) -> bool:
        was_lost, self._loss = self.loss is not None, None
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._settled.set()
        if was_lost:
            self._changed()
        return was_lost
