"""Events of the registry, and faults of processes, watches and the API server."""

from simulation.event import event, node_at
from simulation.faults import Fault
from simulation.objects import Badness
from simulation.registry import VERSIONS
from simulation.world import World


@event
def registry_down(world: World, seconds: float) -> None:
    """Let the registry be away for a while."""
    world.registry.up = False
    world.timeline.end_outage_after(seconds, setattr, world.registry, "up", True)  # setattr takes no keywords


@event
def registry_silent(world: World, seconds: float) -> None:
    """Let the registry accept requests without an answer for a while."""
    world.registry.silent = True
    world.timeline.end_outage_after(seconds, setattr, world.registry, "silent", False)  # as above


@event
def publish_version(world: World, version: str) -> None:
    """Publish a version."""
    world.registry.versions.add(version)


@event
def republish(world: World, version: str) -> None:
    """Publish another chart under the same version."""
    world.registry.republished.add(version)


@event
def break_version(world: World, version: str, badness: str) -> None:
    """Let all agents of a version be bad."""
    world.registry.bad_versions[version] = Badness(badness)


@event
def break_chart(world: World, version: str) -> None:
    """Let a version have a chart that the operator refuses."""
    world.registry.refused_charts.add(version)


@event
def break_preflight(world: World, version: str) -> None:
    """Let the preflight of a version fail; `*`: of every version."""
    world.registry.failing_preflights.update(VERSIONS if version == "*" else (version,))


@event
def fault(world: World, calls: int, kind: str, seconds: float, call: str = "") -> None:
    """Let a call of a process fail (see `Fault`)."""
    world.faults.append(Fault(calls, kind, seconds, call))


@event
def lose_api(world: World, seconds: float) -> None:
    """Let the API server be away."""
    world.lose_api(seconds)


@event
def stall_watch(world: World, kind: str, seconds: float, skip: bool, lost: bool) -> None:
    """Let a watch show an old state for a while."""
    for process in world.processes:
        process.view.stall(kind, world.timeline.now + seconds, skip=skip, lost=lost)
        process.wake()


@event
def change_leader(world: World) -> None:
    """Let another replica lead."""
    world.change_leader()


@event
def die(world: World) -> None:
    """End the process; it is started again."""
    for process in world.processes:
        process.die()


@event
def operator_on(world: World, index: int | None, skew: float) -> None:
    """Move the operator to a node, with a clock that may be wrong."""
    node = None if index is None else node_at(world, index)
    world.own_node, world.skew = None if node is None else node.name, skew
    die(world)
