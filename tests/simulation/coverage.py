"""What the histories of a run have reached: reasons, actions, and cells of the table of revisions."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import Action

if TYPE_CHECKING:
    from simulation.world import World

STATUSES: Final = ("deployed", "failed", "pending", "uninstalling")
CELLS: Final = (
    *(f"{status}, {whose}" for status in STATUSES for whose in ("ours", "foreign")),
    "uninstalled",
    "unreadable",
    "none of ours left",
    "none",
)
"""The cells of the table of revisions: the newest revision, and whose it is."""
ACTIONS: Final = tuple(sorted(action.__name__ for action in get_args(Action) if action.__name__ != "Nothing"))


def cell_of(world: "World") -> str:
    """Return the cell that the cluster is in."""
    revisions = world.helm.revisions
    if not revisions:
        return "none"
    newest = revisions[-1]
    if newest.status == "uninstalled":
        return "uninstalled"
    if not newest.readable:
        return "unreadable"
    if not any(revision.ours for revision in revisions):
        return "none of ours left"
    status = "pending" if newest.pending else "deployed" if newest.status == "superseded" else newest.status
    return f"{status}, {'ours' if newest.ours else 'foreign'}"


@dataclass(slots=True)
class Coverage:
    """Counts of what was reached."""

    reasons: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    cells: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    events: set[str] = field(default_factory=set)
    reconciliations: int = 0

    def saw(self, world: "World") -> None:
        """Count the cell that a reconciliation observes."""
        self.cells[cell_of(world)] += 1

    def reported(self, status: Mapping[str, Any]) -> None:
        """Count the reasons of a status."""
        self.reasons.update(condition["reason"] for condition in status.get("conditions", ()))

    def add(self, other: "Coverage") -> None:
        """Add the counts of another history."""
        for mine, theirs in (
            (self.reasons, other.reasons),
            (self.actions, other.actions),
            (self.cells, other.cells),
            (self.ends, other.ends),
        ):
            mine.update(theirs)
        self.events |= other.events
        self.reconciliations += other.reconciliations

    def missing(self) -> list[str]:
        """Return what was not reached."""
        return [
            *(f"reason {reason.value}" for reason in Reason if reason.value not in self.reasons),
            *(f"action {action}" for action in ACTIONS if action not in self.actions),
            *(f"cell {cell}" for cell in CELLS if cell not in self.cells),
        ]

    def lines(self) -> Iterator[str]:
        """Return what was reached, for people."""
        for title, counts, total in (
            ("reasons", self.reasons, len(Reason)),
            ("actions", self.actions, len(ACTIONS)),
            ("cells", self.cells, len(CELLS)),
        ):
            found = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
            yield f"{title}: {len(counts)} of {total}: {found}"
        yield "histories end: " + ", ".join(f"{name} {count}" for name, count in self.ends.most_common())
        if missing := self.missing():
            yield "not reached: " + ", ".join(missing)
