"""Run a history, and shorten one that violates an invariant."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulation.coverage import Coverage
from simulation.events import Event, happen
from simulation.focus import EVERYTHING, Focus
from simulation.generate import history
from simulation.invariants import judge
from simulation.liveness import settle
from simulation.remember import remember_pure_functions
from simulation.world import World


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a history: what it violated, and what it reached. `trace` is what happened, line by line."""

    violations: Sequence[str]
    coverage: Coverage
    trace: Sequence[str]
    error: str = ""

    @property
    def violated(self) -> str:
        """The name of the invariant that was violated first; empty if none was."""
        return self.violations[0].partition(":")[0] if self.violations else ""

    @property
    def digest(self) -> str:
        """The digest of the trace."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


def run(events: Sequence[Event]) -> Result:
    """Run a history to its end."""
    remember_pure_functions()
    world = World(judge)
    for occurrence in events:
        happen(world, occurrence)
        if world.violations:
            break
    if not world.violations:
        settle(world)
    return Result(tuple(world.violations), world.coverage, tuple(world.traced), world.error)


def run_seed(seed: int, focus: Focus = EVERYTHING) -> Result:
    """Run the history of a seed."""
    return run(history(seed, focus))


def shorten(events: Sequence[Event], fails: Callable[[Sequence[Event]], bool], attempts: int = 400) -> list[Event]:
    """Return the shortest history found that still fails, by delta debugging: leave out parts while it fails."""
    kept, size = list(events), max(len(events) // 2, 1)
    while size and attempts > 0:
        removed = False
        start = 0
        while start < len(kept) and attempts > 0:
            candidate = kept[:start] + kept[start + size :]
            attempts -= 1
            if fails(candidate):
                kept, removed = candidate, True
            else:
                start += size
        if not removed:
            size //= 2
    return kept
