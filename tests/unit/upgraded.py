"""A world in which the registry has several versions, and what the nodes do of themselves in an upgrade."""

from typing import Any

from builders import NODE, REF, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.values import CONFIG_DIGEST, digest
from fake_charts import Manifests, PublishedChart, Values, agents_where_asked
from unit.upgrading import NEXT, STEPS
from unit.world import OTHER_NODE, World, an_installed_world

CHECK = "cilium-pre-flight-check"


def renders(values: Values) -> Manifests:
    """Cilium, or its preflight, as the values ask for."""
    preflight = values.get("preflight", {})
    if not preflight.get("enabled"):
        return agents_where_asked(values)
    pod = {"nodeSelector": preflight["nodeSelector"]}
    return [
        {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": CHECK}, "spec": {"template": {"spec": pod}}}
        for kind in ("DaemonSet", "Deployment")
    ]


def a_world_with_steps(**spec: Any) -> World:
    """All is well at the version of the builders, and the registry has the steps to two minor releases more."""
    world = an_installed_world(**spec)
    for version in STEPS:
        world.charts.publish(REF, version, PublishedChart(digest([REF, version]), renders=renders))
    return world


def upgrade(world: World, version: str, **spec: Any) -> None:
    """A user asks for a version."""
    world.cluster.edit(a_raw_spec(version=version, **spec))


def nodes_answer(world: World) -> bool:
    """The preflight gets ready, Cilium's operator starts anew; whether anything was left to do."""
    seen, newest = world.preflights.seen, world.releases.newest
    if seen.release is not None and not seen.pods:
        world.preflights.run(NODE, OTHER_NODE)
        return True
    agents = world.cluster.rest.agent_set
    run = None if agents is None else agents.config_digest
    values = world.releases.applied[newest.number]
    if newest.status == "deployed" and values["podAnnotations"][CONFIG_DIGEST] != run:
        world.cluster.start_operator()
        return True
    return False


def walk(world: World, *restarts: int) -> int:
    """Passes, and what the nodes answer to each, until all is at rest; a restart before each pass of these numbers."""
    for number in range(60):
        if number in restarts:
            world.restart()
        due = world.reconcile()
        if nodes_answer(world) or (due is not None and due <= world.clock.now()):
            continue
        if due is None or world.ready.reason is Reason.IN_SYNC:
            return number + 1
        world.clock.advance_to(due)
    raise AssertionError(f"there is no end of it: {world.ready.message}")


def with_a_preflight(**spec: Any) -> World:
    """The preflight of the first step was started."""
    world = a_world_with_steps(**spec)
    upgrade(world, NEXT, **spec)
    while world.preflights.seen.release is None:
        world.reconcile()
    return world
