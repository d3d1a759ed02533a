"""What somebody changed of what is released: told with who did it, and not undone."""

from collections.abc import Sequence

from cilium_hybrid.api.status import MAX_DRIFT, Drift
from cilium_hybrid.plan.observation import Difference, Observation
from cilium_hybrid.rules.text import list_names


def compared_revision(observation: Observation) -> int | None:
    """The revision that the objects shall be as; None where none of the operator's is deployed."""
    newest = observation.newest
    return newest.number if newest is not None and newest.deployed else None


def drift_of(observation: Observation, differences: Sequence[Difference] | None, before: Drift | None) -> Drift | None:
    """For the status. Until it is compared anew, what differed `before` is told no more, and nothing is nothing."""
    if observation.newest is None or not observation.newest.managed:
        return None
    if differences is None:
        return before if before is not None and not before.count else None
    return Drift(count=len(differences), sample=tuple(map(str, differences[:MAX_DRIFT])))


def drift_findings(differences: Sequence[Difference] | None) -> tuple[str, ...]:
    """A sentence, where anything differs."""
    if not differences:
        return ()
    told = list_names([str(difference) for difference in differences])
    return (
        f"not as released: {told}: the next change of the release undoes it; what is to stay belongs into the spec",
    )
