"""Events of admins, who use Helm and kubectl."""

from dataclasses import replace
from typing import Final

from cilium_hybrid.plan.observation import ForeignObject, NodeConfigOverride
from cilium_hybrid.plan.values import merged
from simulation.event import event, node_at
from simulation.helm import HelmError
from simulation.world import World


@event
def helm_upgrade(world: World, version: str, memory: str, status: str) -> None:
    """Upgrade the release by hand, with values of its own; `status` is how it ends, pending: it stays so."""
    helm = world.helm
    newest, running = helm.newest, helm.running
    if not world.api_up:
        return
    values = running.values if running is not None else {"ipam": _POOL, "upgradeCompatibility": version[:4]}
    values = merged(values, {"resources": {"limits": {"memory": memory}}})
    pending = "pending-install" if running is None else "pending-upgrade"
    try:
        revision = helm.begin(pending, values, version, "sha256:admin", helm.copied_labels(newest), "helm")
    except HelmError:
        return
    if status != "pending":
        helm.deploy_objects(revision)
        helm.finish(revision, status)


_POOL: Final = {"operator": {"clusterPoolIPv4PodCIDRList": ["10.85.0.0/16"], "clusterPoolIPv4MaskSize": 25}}


@event
def helm_rollback(world: World, back: int) -> None:
    """Roll the release back by hand, by so many revisions."""
    helm = world.helm
    if not world.api_up or len(helm.revisions) <= back or helm.running is None:
        return
    target = helm.revisions[-1 - back]
    try:
        revision = helm.begin(
            "pending-rollback", target.values, target.version, target.chart_digest, helm.copied_labels(target), "helm"
        )
    except HelmError:
        return
    helm.deploy_objects(revision)
    helm.finish(revision)


@event
def helm_uninstall(world: World, how: str) -> None:
    """Uninstall the release by hand: `keep` the history, leave it `pending`, or end."""
    newest = world.helm.newest
    if newest is None or not world.api_up or newest.status == "uninstalled":
        return
    if how == "pending":
        newest.status = "uninstalling"
        world.helm.write(newest)
        return
    world.helm.uninstall(keep_history=how == "keep")


@event
def finish_pending(world: World, status: str) -> None:
    """Let a foreign operation that was in progress end."""
    newest = world.helm.newest
    if newest is None or not world.api_up:
        return
    if newest.pending and not newest.ours:
        if status == "deployed":
            world.helm.deploy_objects(newest)
        world.helm.finish(newest, status)
    elif newest.status == "uninstalling" and not any(process.busy for process in world.processes):
        world.helm.uninstall()


@event
def make_unreadable(world: World) -> None:
    """Damage the payload of the newest revision."""
    if world.helm.newest is not None:
        world.helm.newest.readable = False
        world.helm.write(world.helm.newest)


@event
def repair_payload(world: World) -> None:
    """Restore the payloads."""
    for revision in world.helm.revisions:
        if not revision.readable:
            revision.readable = True
            world.helm.write(revision)


@event
def delete_record(world: World) -> None:
    """Delete the record."""
    if world.record is not None and world.api_up:
        world.put_record(None)
        world.ledger.record_lost()


@event
def delete_kept_payload(world: World) -> None:
    """Delete the kept payload of the last verified revision."""
    world.helm.kept = None


@event
def delete_pod(world: World, index: int) -> None:
    """Delete the agent pod of a node by hand."""
    node = node_at(world, index)
    if node is not None and node.pod is not None and world.api_up:
        template = world.controllers.template
        if template is not None and template.rolling and node.pod.fact.config_digest != template.digest:
            # The next pod is what the DaemonSet controller was about to create.
            world.ledger.replaced(node, node.pod, template)
        world.machines.delete_pod(node.pod)


@event
def kill_container(world: World, index: int) -> None:
    """Let the agent of a node exit once."""
    node = node_at(world, index)
    if node is not None and node.pod is not None:
        world.machines.kill_container(node.pod)


@event
def set_quota(world: World, above: int | None) -> None:
    """Limit the agent pods to so many more than the present ones; None: no limit."""
    count = world.controllers.count_pods()
    world.controllers.quota = None if above is None else max(count + above, 0)
    world.controllers.wake()


@event
def set_policy(world: World, message: str) -> None:
    """Let an admission policy refuse the objects of the release; empty: no longer."""
    world.policy = message


@event
def foreign_cni(world: World, index: int | None) -> None:
    """Let another CNI run on a node; None: no longer."""
    node = None if index is None else node_at(world, index)
    world.set_foreign_cni(None if node is None else node.name)


@event
def admin_preflight(world: World) -> None:
    """Let an admin start a preflight of their own."""
    world.preflight.admin_starts()


@event
def foreign_object(world: World, cni: str) -> None:
    """Let another CNI be installed on no node yet; empty: no longer."""
    objects = (ForeignObject("DaemonSet kube-system/other", cni),) if cni else ()
    world.others = replace(world.others, objects=objects)
    world.touch("others")


@event
def node_config(world: World, keys: list[str]) -> None:
    """Let a CiliumNodeConfig override keys of `cilium-config`; without keys: no longer."""
    configs = (NodeConfigOverride("kube-system/x", tuple(keys)),) if keys else ()
    world.others = replace(world.others, node_configs=configs)
    world.touch("others")


@event
def peering_policies(world: World, names: list[str]) -> None:
    """Let CiliumBGPPeeringPolicies exist, which nobody watches."""
    world.peering_policies = tuple(names)


@event
def use_addresses(world: World, cidr: str) -> None:
    """Let pods of cloud nodes use addresses of a CIDR, which nobody watches; empty: no longer."""
    world.used_addresses = cidr
