"""Histories, drawn from a seed. Each history uses only some kinds of events, so that each kind has room to matter."""

from copy import deepcopy
from random import Random
from typing import Final

from simulation.draws import DRAWS, DURATIONS, NEW_KERNEL, OLD_KERNEL, ZONES
from simulation.event import Event
from simulation.focus import EVERYTHING, Focus
from simulation.objects import MEMORY
from simulation.registry import VERSIONS
from simulation.specs import SpecWriter

CHANGE_SPEC: Final = "apply_spec"


def history(seed: int, focus: Focus = EVERYTHING) -> list[Event]:
    """Return the history of a seed."""
    random = Random(seed)  # noqa: S311 # a seed is what makes it useful
    writer = SpecWriter(random, focus.changes or None, focus.memory or tuple(MEMORY))
    focus.apply_to(writer.spec)
    nodes = random.choice((2, 3, 4, 6) if focus.events else (0, 1, 2, 3, 4, 4, 6))
    zones = ZONES[: random.choice((1, 2))]
    events: list[Event] = [
        ("join", index + 1, zones[index % len(zones)], OLD_KERNEL if random.random() < 0.01 else NEW_KERNEL)
        for index in range(nodes)
    ]
    if random.random() < 0.1:
        events.append(("operator_on", random.randrange(6), random.choice((0.0, 3600.0, -30.0))))
    if random.random() < 0.04 or focus.adopted:
        events.append(
            ("helm_upgrade", random.choice(VERSIONS[:4]), "512Mi", random.choice(("deployed", "failed", "pending")))
        )
    events += [("apply_spec", deepcopy(writer.spec)), ("advance", random.choice((5, 60, 90, 90, 120, 120, 200)))]
    kinds = focus.events or _some_kinds(random)
    for _ in range(random.randrange(3, focus.length + 1)):
        events.append(_draw(random, random.choices(list(kinds), list(kinds.values()))[0], writer))
        if random.random() < 0.6:
            events.append(("advance", random.choice(DURATIONS)))
    return events


def _some_kinds(random: Random) -> dict[str, float]:
    """Return the kinds of events of one history with their weights: always the spec and time, and some others."""
    share = random.choice((0.05, 0.15, 0.3, 0.6))
    chosen = {name: weight for name, (weight, _) in DRAWS.items() if random.random() < share}
    return {CHANGE_SPEC: random.choice((2.0, 6.0)), "advance": 2.0, **chosen}


def _draw(random: Random, name: str, writer: SpecWriter) -> Event:
    match name:
        case "apply_spec":
            return (name, writer.change())
        case "gitops":
            return (name, deepcopy(writer.spec), random.choice((2, 5)))
        case "advance":
            return (name, random.choice(DURATIONS))
        case _:
            return (name, *DRAWS[name][1](random))
