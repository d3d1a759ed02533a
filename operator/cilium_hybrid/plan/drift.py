"""What somebody changed of what is released: told with who did it, and not undone."""

from collections.abc import Sequence
from dataclasses import dataclass

from cilium_hybrid.api.status import MAX_DRIFT, Drift
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.wording import some
from cilium_hybrid.rules.rule import in_one_line


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that is not as it is released.

    `fields` that differ, in the API server's words, none where the object is gone. `managers`: who has written those,
    as the object's managedFields name them, where they say so.
    """

    title: str
    fields: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The object, what differs and who changed it."""
        if not self.fields:
            return f"{self.title} is gone"
        by = f", by {some(self.managers)}" if self.managers else ""
        return in_one_line(f"{self.title} ({some(self.fields)}{by})")


def compared_revision(observation: Observation) -> int | None:
    """The revision that the objects shall be as; None where none of the operator's is deployed."""
    newest = observation.newest
    return newest.number if newest is not None and newest.stands else None


def drift_of(observation: Observation, differences: Sequence[Difference] | None, before: Drift | None) -> Drift | None:
    """For the status. Until it is compared anew, what differed `before` is told no more, and nothing is nothing."""
    if observation.newest is None or not observation.newest.ours:
        return None
    if differences is None:
        return before if before is not None and not before.count else None
    return Drift(count=len(differences), sample=tuple(map(str, differences[:MAX_DRIFT])))


def judge_drift(differences: Sequence[Difference] | None) -> tuple[str, ...]:
    """A sentence, where anything differs."""
    if not differences:
        return ()
    told = some([str(difference) for difference in differences])
    return (
        f"not as released: {told}: the next change of the release undoes it; what is to stay belongs into the spec",
    )
