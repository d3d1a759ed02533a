"""The deletion of the resource. It needs no valid spec, no release and no chart, so that it can always finish."""

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import DeletionPolicy
from cilium_hybrid.plan.actions import Decision, EndPreflight, Nothing, RemoveFinalizer, Uninstall
from cilium_hybrid.plan.inputs import Evaluation, Resource
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.text import list_names


def decide_deletion(evaluation: Evaluation) -> Decision:
    """Return the next step of the deletion. This is the only place where Cilium may be uninstalled."""
    decision, failure = _choose(evaluation.input.resource, evaluation.observation), evaluation.failure
    if failure is not None and failure.is_backing_off(evaluation.now) and not isinstance(decision.action, Nothing):
        return Decision(Nothing(), Reason.DELETION_BLOCKED, failure.with_next_attempt())
    return decision


def _choose(resource: Resource, observation: Observation) -> Decision:
    if not resource.has_finalizer:
        return Decision(Nothing(), Reason.DELETING, "waiting for other finalizers to be removed")
    if not _should_uninstall(resource, observation):
        return Decision(RemoveFinalizer(), Reason.DELETING, "Cilium keeps running")
    newest = observation.newest
    if observation.preflight.managed:
        return Decision(EndPreflight(), Reason.DELETING, "removing the preflight check")
    if newest is not None and not any(revision.managed for revision in observation.revisions):
        message = "Helm release cilium was not created by this operator and is kept"
        return Decision(RemoveFinalizer(), Reason.DELETING, message)
    if newest is not None and observation.installed:
        return Decision(Uninstall(newest.number), Reason.DELETING, "uninstalling Cilium")
    if names := _connected_with_agent_pods(observation):
        message = f"waiting for the Cilium agent pods on {list_names(names)} to terminate"
        return Decision(Nothing(), Reason.DELETING, message)
    return Decision(RemoveFinalizer(), Reason.DELETING, "Cilium is uninstalled")


def _should_uninstall(resource: Resource, observation: Observation) -> bool:
    """Whether to uninstall Cilium: never if the resource is only deleted because its CRD is."""
    policy, suspended = resource.spec.get("deletionPolicy"), resource.spec.get("suspend") is True
    return policy == DeletionPolicy.UNINSTALL and not suspended and not observation.definition_terminating


def _connected_with_agent_pods(observation: Observation) -> list[str]:
    """Return the nodes whose agent pods are terminating; the pods of a node that does not report never end."""
    nodes = observation.nodes
    return sorted(
        name for name in observation.nodes_with_agent_pods if name in nodes and nodes[name].ready != "Unknown"
    )
