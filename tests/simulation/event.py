"""The registry of events: a function `(world, *arguments)` is registered under its name with `@event`."""

from collections.abc import Callable
from typing import Any, Final

from simulation.objects import Node
from simulation.world import World

Event = tuple[Any, ...]
"""The name of an event and its arguments, all of them JSON."""
EVENTS: Final[dict[str, Callable[..., None]]] = {}


def event(function: Callable[..., None]) -> Callable[..., None]:
    """Register an event under the name of its function."""
    EVENTS[function.__name__] = function
    return function


def node_at(world: World, index: int) -> Node | None:
    """Return one of the nodes, None if there is none."""
    names = sorted(world.machines.nodes)
    return world.machines.nodes[names[index % len(names)]] if names else None
