"""Events of nodes, their machines and their uplinks."""

from simulation.event import event, node_at
from simulation.world import World


@event
def join(world: World, index: int, zone: str, kernel: str) -> None:
    """Let a node join."""
    world.machines.join(index, zone, kernel)


@event
def delete_node(world: World, index: int) -> None:
    """Delete a Node."""
    node = node_at(world, index)
    if node is not None and world.api_up:
        world.machines.delete(node)


@event
def label_node(world: World, index: int, hybrid: bool) -> None:
    """Add or remove the label of hybrid nodes."""
    node = node_at(world, index)
    if node is not None and world.api_up:
        world.machines.label(node, hybrid=hybrid)


@event
def cordon(world: World, index: int, cordoned: bool) -> None:
    """Cordon or uncordon a node."""
    node = node_at(world, index)
    if node is not None:
        world.machines.change(node, cordoned=cordoned)


@event
def disconnect(world: World, index: int, seconds: float | None) -> None:
    """Cut the uplink of a node for a while, or for ever."""
    node = node_at(world, index)
    if node is not None and node.linked:
        world.machines.disconnect(node)
        if seconds is not None:
            world.timeline.end_outage_after(seconds, world.machines.reconnect, node)


@event
def disconnect_zone(world: World, zone: str, seconds: float) -> None:
    """Cut the uplink of a site for a while."""
    for node in world.machines.nodes.values():
        if node.zone == zone and node.linked:
            world.machines.disconnect(node)
            world.timeline.end_outage_after(seconds, world.machines.reconnect, node)


@event
def reconnect_all(world: World) -> None:
    """Restore every uplink."""
    for node in world.machines.nodes.values():
        world.machines.reconnect(node)


@event
def reboot(world: World, index: int, seconds: float) -> None:
    """Reboot a node."""
    node = node_at(world, index)
    if node is not None:
        world.machines.reboot(node, seconds)


@event
def blink(world: World, indices: list[int], seconds: float) -> None:
    """Let agents not be Ready for a moment."""
    for index in indices:
        node = node_at(world, index)
        if node is not None:
            world.machines.blink(node, seconds)


@event
def kubelet(world: World, index: int, healthy: bool) -> None:
    """Let a kubelet report its node as Ready or not."""
    node = node_at(world, index)
    if node is not None:
        world.machines.set_kubelet(node, healthy=healthy)


@event
def fill_disk(world: World, index: int, full: bool) -> None:
    """Fill the disk of a node, so that no container starts, or free it."""
    node = node_at(world, index)
    if node is not None:
        world.machines.change(node, disk_full=full)
        if full and node.pod is not None:
            world.machines.kill_container(node.pod)


@event
def fill_node(world: World, index: int, full: bool) -> None:
    """Leave no room for another agent pod on a node, or free it."""
    node = node_at(world, index)
    if node is not None:
        world.machines.change(node, full=full)


@event
def stick(world: World, index: int, stuck: bool) -> None:
    """Let the pods of a node not terminate, or end them."""
    node = node_at(world, index)
    if node is not None and stuck:
        node.stuck = True
    elif node is not None:
        world.machines.unstick(node)


@event
def skew_node(world: World, index: int, minutes: int) -> None:
    """Set the clock of a node wrong."""
    node = node_at(world, index)
    if node is not None:
        world.machines.change(node, skew=minutes)
