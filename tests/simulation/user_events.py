"""Events of time, users and GitOps."""

from collections.abc import Mapping
from typing import Any

from simulation.event import event
from simulation.world import World


@event
def advance(world: World, seconds: float) -> None:
    """Let time pass."""
    world.advance(seconds)


@event
def apply_spec(world: World, spec: Mapping[str, Any]) -> None:
    """Create the resource or change its spec."""
    if world.api_up:
        world.users.apply(spec)


@event
def approve(world: World, digest: str | None) -> None:
    """Approve the present plan, or another one."""
    world.users.approve(digest)


@event
def request(world: World, value: str) -> None:
    """Set the reconcile annotation."""
    world.users.request(value)


@event
def delete_resource(world: World) -> None:
    """Delete the resource."""
    world.users.delete()


@event
def replace_by_force(world: World) -> None:
    """Replace the resource, which loses its status."""
    world.users.replace_by_force()


@event
def gitops(world: World, spec: Mapping[str, Any], times: int) -> None:
    """Write the same manifest again every minute."""
    if world.api_up:
        world.users.apply(spec)
        world.publish()
    if times > 1:
        world.timeline.after(60, gitops, world, spec, times - 1)
