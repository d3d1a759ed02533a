"""A world with several versions in the registry, and what its nodes do during an upgrade."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from builders import NODE, REF, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.values import CONFIG_DIGEST, digest
from fake_charts import Manifests, PublishedChart, Values, render_agents
from unit.upgrading import NEXT, STEPS
from unit.world import OTHER_NODE, World, an_installed_world

CHECK = "cilium-pre-flight-check"


def render(values: Values) -> Manifests:
    """Render Cilium, or its preflight if the values enable it."""
    preflight = values.get("preflight", {})
    if not preflight.get("enabled"):
        return render_agents(values)
    pod = {"nodeSelector": preflight["nodeSelector"]}
    return [
        {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": CHECK}, "spec": {"template": {"spec": pod}}}
        for kind in ("DaemonSet", "Deployment")
    ]


def a_world_with_steps(**spec: Any) -> World:
    """The builders' version is in sync, and the registry has the steps to two more minor versions."""
    world = an_installed_world(**spec)
    for version in STEPS:
        world.charts.publish(REF, version, PublishedChart(digest([REF, version]), renders=render))
    return world


def upgrade(world: World, version: str, **spec: Any) -> None:
    """Change the version in the spec, as a user does."""
    world.cluster.edit(a_raw_spec(version=version, **spec))


def advance_nodes(world: World) -> bool:
    """Let the preflight become ready or the Cilium operator restart; whether either was due."""
    preflight, newest = world.preflights.observed, world.releases.newest
    if preflight.release is not None and not preflight.pods:
        world.preflights.run(NODE, OTHER_NODE)
        return True
    agents = world.cluster.rest.agent_set
    run = None if agents is None else agents.config_digest
    values = world.releases.applied[newest.number]
    if newest.status == "deployed" and values["podAnnotations"][CONFIG_DIGEST] != run:
        world.cluster.start_operator()
        return True
    return False


def advance(world: World, due: datetime | None) -> None:
    """Let happen what is next: a change of the nodes, or the time until the next reconciliation."""
    if not advance_nodes(world) and due is not None and due > world.clock.now():
        world.clock.advance_to(due)
        world.cluster.crash()


def reconcile_until(world: World, reached: Callable[[], bool]) -> None:
    """Reconcile, and let nodes and time advance, until a state is reached."""
    for _ in range(150):
        due = world.reconcile()
        if reached():
            return
        advance(world, due)
    raise AssertionError(f"never reached: {world.ready.message}")


def run_upgrade(world: World, *restarts: int) -> int:
    """Reconcile and advance the nodes until nothing is due; the operator restarts before these reconciliations."""
    for number in range(150):
        if number in restarts:
            world.restart()
        due = world.reconcile()
        if advance_nodes(world) or (due is not None and due <= world.clock.now()):
            continue
        verified = world.cluster.records[-1].verified == world.releases.newest.number
        if due is None or (world.ready.reason is Reason.IN_SYNC and verified):
            return number + 1
        world.clock.advance_to(due)
    raise AssertionError(f"the upgrade does not end: {world.ready.message}")


def a_world_with_preflight(**spec: Any) -> World:
    """The preflight of the first step is started."""
    world = a_world_with_steps(**spec)
    upgrade(world, NEXT, **spec)
    reconcile_until(world, lambda: world.preflights.observed.release is not None)
    return world
