"""Drift: changes that others made to the objects of the release."""

from collections.abc import Sequence

from cilium_hybrid.api.status import MAX_DRIFT, Drift
from cilium_hybrid.plan.observation import Difference, Observation
from cilium_hybrid.rules.text import list_names


def compared_revision(observation: Observation) -> int | None:
    """Return the revision to compare the cluster with, None if no revision of the operator is deployed."""
    newest = observation.newest
    return newest.number if newest is not None and newest.deployed else None


def drift_status(
    observation: Observation, differences: Sequence[Difference] | None, before: Drift | None
) -> Drift | None:
    """Return `status.drift`.

    Until the next comparison, earlier drift is no longer reported, and the absence of drift still is.
    """
    if observation.newest is None or not observation.newest.managed:
        return None
    if differences is None:
        return before if before is not None and not before.count else None
    return Drift(count=len(differences), sample=tuple(map(str, differences[:MAX_DRIFT])))


def drift_findings(differences: Sequence[Difference] | None) -> tuple[str, ...]:
    """Return a sentence if anything differs from the release."""
    if not differences:
        return ()
    names = list_names([str(difference) for difference in differences])
    fix = "the next change of the release undoes this; to keep the change, add it to the spec"
    return (f"differs from the release: {names}; {fix}",)
