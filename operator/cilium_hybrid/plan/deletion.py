"""The deletion of the resource. It needs no valid spec, no release and no chart, so that it can always finish."""

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import DeletionPolicy
from cilium_hybrid.plan.actions import Decision, EndPreflight, Nothing, RemoveFinalizer, Uninstall
from cilium_hybrid.plan.classify import ReleaseClass, unreadable_revision
from cilium_hybrid.plan.inputs import Evaluation, Resource
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.text import list_names


def decide_deletion(evaluation: Evaluation) -> Decision:
    """Return the next step of the deletion. This is the only place where Cilium may be uninstalled."""
    resource, observation = evaluation.input.resource, evaluation.observation
    if not resource.has_finalizer:
        return Decision(Nothing(), Reason.DELETING, "waiting for other finalizers to be removed")
    if not _should_uninstall(resource, observation):
        return Decision(RemoveFinalizer(), Reason.DELETING, "Cilium keeps running")
    if (kept := _kept_because(evaluation)) is not None:
        return Decision(RemoveFinalizer(), Reason.DELETING, f"Cilium is kept, because {kept}")
    if observation.lost_watches:
        lost = list_names(observation.lost_watches, separator="; ")
        return Decision(Nothing(), Reason.DELETION_BLOCKED, f"waiting for every watch to be restored: {lost}")
    if observation.preflight.managed:
        return Decision(EndPreflight(), Reason.DELETING, "removing the preflight check")
    if not evaluation.release.absent:
        return _uninstall(evaluation)
    if names := _connected_with_agent_pods(observation):
        message = f"waiting for the Cilium agent pods on {list_names(names)} to terminate"
        return Decision(Nothing(), Reason.DELETING, message)
    return Decision(RemoveFinalizer(), Reason.DELETING, "Cilium is uninstalled")


def _kept_because(evaluation: Evaluation) -> str | None:
    """Return why the release is not the operator's to uninstall; None if it is, or if there is none."""
    newest, release = evaluation.observation.newest, evaluation.release
    if newest is None:
        return None
    if release is ReleaseClass.NOT_OWNED:
        return "Helm release cilium was not created by this operator"
    if not release.foreign:
        return None
    by = f" by {newest.manager}" if newest.manager else ""
    return f"its newest revision {newest.number} was made{by}, not by this operator"


def _uninstall(evaluation: Evaluation) -> Decision:
    newest = evaluation.observation.newest
    number = 0 if newest is None else newest.number
    if evaluation.release is ReleaseClass.UNREADABLE:
        unreadable = unreadable_revision(evaluation.observation)
        message = (
            f"Secret kube-system/sh.helm.release.v1.cilium.v{unreadable} cannot be decoded, so Helm cannot uninstall "
            "Cilium; restore the Secret, or set spec.deletionPolicy to Retain"
        )
        return Decision(Nothing(), Reason.DELETION_BLOCKED, message)
    locked = evaluation.release.in_progress
    if locked and evaluation.input.newest_unchanged_for < evaluation.input.unlock_after:
        return Decision(Nothing(), Reason.DELETING, "waiting for Helm to finish before Cilium is uninstalled")
    return Decision(Uninstall(number), Reason.DELETING, "uninstalling Cilium")


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
