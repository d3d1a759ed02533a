"""What the histories of a mutant are about, so that the events that it needs are likely."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulation.draws import DRAWS
from simulation.specs import CHANGE_NAMES, Spec, set_field

OWN_EVENTS = frozenset({"apply_spec", "advance", "gitops"})


@dataclass(frozen=True, slots=True)
class Focus:
    """Weights of the kinds of events and of the changes of the spec that may occur; all if empty.

    `first` are fields of the first spec, by their path. `memory` are the bad memory limits that users set. `adopted`:
    an admin has installed the release before the resource is created. `length` is the highest number of events.
    """

    events: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, float] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)
    memory: tuple[str, ...] = ()
    adopted: bool = False
    length: int = 25

    def apply_to(self, spec: Spec) -> None:
        """Set the fields of the first spec."""
        for path, value in self.first.items():
            set_field(spec, path, value)


EVERYTHING = Focus()


def parse_focus(text: str) -> Focus:
    """Return the focus in words `event=weight`, `spec.change=weight`, `first.path=JSON`, `memory=1Mi,2Mi` and others.

    `adopted` and `length=25` are the others. Raises ValueError for a name that does not exist.
    """
    events: dict[str, float] = {}
    changes: dict[str, float] = {}
    first: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name in DRAWS or name in OWN_EVENTS:
            events[name] = float(value)
        elif name.removeprefix("spec.") in CHANGE_NAMES:
            changes[name.removeprefix("spec.")] = float(value)
        elif name.startswith("first."):
            first[name.removeprefix("first.")] = json.loads(value)
        elif name == "memory":
            more[name] = tuple(value.split(","))
        elif name == "length":
            more[name] = int(value)
        elif name == "adopted":
            more[name] = True
        else:
            raise ValueError(f"no event, change or option is called {name}")
    return Focus(events, changes, first, **more)
