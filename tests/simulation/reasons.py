"""The reasons with which a history may end, and what in the model each of them must have as its cause."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.upgrade import Approval
from simulation.ledger import spec_of
from simulation.objects import Badness, Node, StoredRevision
from simulation.registry import MISSING_CHART

if TYPE_CHECKING:
    from simulation.world import World

Fits = Callable[["World"], bool]


def _newest(world: "World") -> StoredRevision | None:
    return world.helm.newest


def not_owned(world: "World") -> bool:
    """Whether the release is someone else's, and the operator has no part in it."""
    newest = _newest(world)
    return (
        newest is not None
        and newest.status != "uninstalled"
        and newest.readable
        and world.record is None
        and not any(found.ours for found in world.helm.installed)
    )


def _foreign_in_progress(world: "World") -> bool:
    newest = _newest(world)
    return newest is not None and not newest.ours and (newest.pending or newest.status == "uninstalling")


def _nodes(world: "World") -> list[Node]:
    return [node for node in world.machines.nodes.values() if node.labelled]


def _is_ill(world: "World", node: Node) -> bool:
    pod, template = node.pod, world.controllers.template
    outdated = pod is not None and template is not None and pod.fact.config_digest != template.digest
    return node.ready != "True" or pod is None or not pod.fact.ready or outdated


def _any_ill(world: "World") -> bool:
    return any(_is_ill(world, node) for node in _nodes(world))


def _rollout_cannot_continue(world: "World") -> bool:
    """Whether a node or the Cilium operator is ill, canaries are gone, it was rejected, or IPAM is overridden."""
    wanted = world.controllers.operator_wanted
    operator_fails = wanted is not None and (wanted[1] is not Badness.GOOD or not world.controllers.operator_available)
    ledger, overridden = world.ledger, any(found.keys != ("mtu",) for found in world.others.node_configs)
    if overridden:
        return True
    return _any_ill(world) or operator_fails or ledger.rejection is not None or ledger.replaced_canaries > 1


def _awaits_approval(world: "World") -> bool:
    resource = world.users.resource
    spec = None if resource is None else spec_of(resource.spec)
    if resource is None or spec is None or spec.upgrade.approval is not Approval.MANUAL:
        return False
    return resource.approved != resource.status.get("planDigest")


def _chart_is_missing(world: "World") -> bool:
    """Whether the registry, which answers, or the disk lacks a chart that the spec asks for."""
    resource = world.users.resource
    spec = None if resource is None else spec_of(resource.spec)
    if spec is None:
        return False
    if spec.chart.ref.startswith(MISSING_CHART):
        return True
    wanted = [spec.version, *(step.version for step in spec.upgrade.via)]
    return any(version not in world.registry.versions for version in wanted)


def _preflight_fails(world: "World") -> bool:
    """Whether the preflight of a version fails or cannot end on a node, or an admin runs one of their own."""
    release = world.preflight.release
    if release is not None and not release.managed:
        return True
    return bool(world.registry.failing_preflights) or any(_is_ill(world, node) for node in _nodes(world))


def _restored(world: "World") -> bool:
    newest = _newest(world)
    return newest is not None and newest.ours and newest.status == "deployed" and "rollback" in newest.labels


def _spec(world: "World") -> Mapping[str, Any]:
    resource = world.users.resource
    return {} if resource is None else resource.spec


WAITS: Final[Mapping[str, Fits]] = {
    Reason.AWAITING_APPROVAL: _awaits_approval,
    Reason.SUSPENDED: lambda _: True,
    Reason.RELEASE_LOCKED: _foreign_in_progress,
    Reason.CHART_UNAVAILABLE: _chart_is_missing,
    Reason.POLICY_REJECTED: lambda world: bool(world.policy or world.agent_pod_refusals()),
    Reason.ROLLOUT_STALLED: _rollout_cannot_continue,
    Reason.DELETING: lambda world: any(node.stuck for node in _nodes(world)) or _foreign_in_progress(world),
    Reason.NODES_NOT_READY: _any_ill,
    Reason.DELETION_BLOCKED: lambda world: any(
        found is not None and not found.readable for found in (_newest(world), world.helm.running)
    ),
    Reason.NODES_DISCONNECTED: lambda world: not any(node.ready != "Unknown" for node in _nodes(world)),
}
"""Reasons other than Ready and Stalled with which the operator may wait for ever, and when they fit."""

FITS: Final[Mapping[str, Fits]] = {
    Reason.RELEASE_NOT_OWNED: lambda world: not any(found.ours for found in world.helm.installed),
    Reason.FOREIGN_REVISION: lambda world: (newest := _newest(world)) is not None and not newest.ours,
    Reason.FOREIGN_CNI: lambda world: bool(world.others.pods or world.others.objects),
    Reason.KERNEL_TOO_OLD: lambda world: any(node.kernel.startswith("4") for node in world.machines.nodes.values()),
    Reason.SUSPENDED: lambda world: _spec(world).get("suspend") is True,
    Reason.NO_HYBRID_NODES: lambda world: not _nodes(world),
    Reason.PREFLIGHT_FAILED: _preflight_fails,
    Reason.ROLLOUT_STALLED: _rollout_cannot_continue,
    Reason.ROLLED_BACK: _restored,
    Reason.NODES_NOT_READY: _any_ill,
    Reason.CHART_UNAVAILABLE: _chart_is_missing,
    Reason.AWAITING_APPROVAL: _awaits_approval,
}
"""Reasons that something in the model must be the cause of."""

ANY_OWNER: Final = frozenset(
    {"deleted", Reason.RELEASE_NOT_OWNED, Reason.SUSPENDED, Reason.RELEASE_LOCKED, Reason.DELETING}
)
"""Reasons that may be reported although the release is someone else's."""
