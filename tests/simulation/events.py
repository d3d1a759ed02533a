"""What can happen in a history, besides what the model does by itself: events of users, admins, nodes and faults.

An event is a tuple of a name and arguments, all of them JSON, so that a history can be printed, shortened and replayed.
To add one, write a function `(world, *arguments)` in one of the modules below and register it with `@event`; it must do
nothing if it cannot happen now. Then draw it in `draws.py`.
"""

from simulation import admin_events, fault_events, node_events, user_events
from simulation.event import EVENTS, Event
from simulation.world import World

MODULES = (user_events, admin_events, node_events, fault_events)
"""The modules whose events are registered by their import."""
__all__ = ["EVENTS", "MODULES", "Event", "happen"]


def happen(world: World, occurrence: Event) -> None:
    """Let an event happen, and the processes see it."""
    name, *arguments = occurrence
    world.trace(f"event {name} {arguments}")
    EVENTS[name](world, *arguments)
    world.publish()
    world.advance(0)
