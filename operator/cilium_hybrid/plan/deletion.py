"""What deleting the resource comes to. It needs no valid spec, no release and no chart, so it can always end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import DeletionPolicy
from cilium_hybrid.plan.actions import Decision, EndPreflight, Nothing, RemoveFinalizer, Uninstall
from cilium_hybrid.plan.inputs import Failure
from cilium_hybrid.plan.observation import Observation


@dataclass(frozen=True, slots=True)
class DeletionInput:
    """All that a decision about a resource being deleted looks at; `spec` as it was written, valid or not."""

    spec: Mapping[str, Any]
    observation: Observation
    has_finalizer: bool
    now: datetime
    failure: Failure | None = None


def decide_deletion(removal: DeletionInput) -> Decision:
    """Choose the next step. Only here, and only for deletionPolicy Uninstall, is Cilium taken away."""
    decision, failure = _choose(removal), removal.failure
    if failure is not None and failure.waits(removal.now) and not isinstance(decision.action, Nothing):
        return Decision(Nothing(), Reason.DELETION_BLOCKED, failure.with_next_try())
    return decision


def _choose(removal: DeletionInput) -> Decision:
    if not removal.has_finalizer:
        return Decision(Nothing(), Reason.DELETING, "waiting for the finalizers of others")
    if not _uninstalls(removal):
        return Decision(RemoveFinalizer(), Reason.DELETING, "Cilium stays as it runs")
    observation = removal.observation
    newest = observation.newest
    if observation.preflight.managed:
        return Decision(EndPreflight(), Reason.DELETING, "taking the preflight away")
    if newest is not None and not any(revision.managed for revision in observation.revisions):
        return Decision(
            RemoveFinalizer(), Reason.DELETING, "Helm release cilium was not made by this operator and stays"
        )
    if newest is not None and observation.installed:
        return Decision(Uninstall(newest.number), Reason.DELETING, "uninstalling Cilium")
    if left := _connected_with_pods(observation):
        return Decision(Nothing(), Reason.DELETING, f"waiting for Cilium's pods to end on {', '.join(left)}")
    return Decision(RemoveFinalizer(), Reason.DELETING, "Cilium is uninstalled")


def _uninstalls(removal: DeletionInput) -> bool:
    """Whether the resource asks for it; not when it is only swept away with its definition."""
    asks = removal.spec.get("deletionPolicy") == DeletionPolicy.UNINSTALL
    return asks and removal.spec.get("suspend") is not True and not removal.observation.definition_terminating


def _connected_with_pods(observation: Observation) -> list[str]:
    """Nodes whose pods are still ending; a node that does not report keeps them for ever, and is not waited for."""
    nodes = observation.nodes
    return sorted(name for name in observation.nodes_with_pods if name in nodes and nodes[name].ready != "Unknown")
