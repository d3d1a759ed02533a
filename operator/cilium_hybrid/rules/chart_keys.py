"""Keys that the target chart knows: it takes any other without a word, and then a typing mistake changes nothing.

The keys stand in chart_keys.txt; a minor release that is not among them has none to compare with.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Violation

FIRST, LAST = 17, 20
"""The minors of Cilium 1 whose keys are known."""
NAMED: Final = 20
"""So many keys are named; a search for the nearest one takes its time."""
_EVERYWHERE: Final = "global"


@dataclass(slots=True)
class Key:
    """A key, the minors that know it, and the keys below it; where there are none, anything is free."""

    first: int = FIRST
    last: int = LAST
    below: dict[str, "Key"] = field(default_factory=dict)

    def of(self, minor: int) -> bool:
        """Whether a minor knows it."""
        return self.first <= minor <= self.last


def keys_are_known(spec: LenientSpec) -> Iterator[Violation]:
    """Each key that the chart of this minor release does not know, with the nearest one that it does."""
    version = spec.version
    if version is None or version.major != 1 or not FIRST <= version.minor <= LAST:
        return
    unknown = 0
    for path, siblings in _unknown(spec.values, known_keys(), version.minor):
        unknown += 1
        if unknown <= NAMED:
            yield _warning(path, siblings, version.series, version.minor)
    if unknown > NAMED:
        message = f"has {unknown - NAMED} more keys that the chart of Cilium {version.series} does not know"
        yield Violation(Reason.INVALID_VALUES, "spec.values", message, "take them out")


def _warning(path: tuple[str, ...], siblings: Mapping[str, Key], series: str, minor: int) -> Violation:
    name = path[-1]
    place, message = ".".join(("spec.values", *path)), f"is no key of the chart of Cilium {series}, which ignores it"
    if (other := siblings.get(name)) is not None:
        since = f"it came with 1.{other.first}" if minor < other.first else f"it went with 1.{other.last + 1}"
        return Violation(Reason.INVALID_VALUES, place, f"{message} ({since})", "take it out")
    if name.partition(".")[0] in siblings and "." in name:
        nested = name.replace(".", ": {", 1)
        return Violation(Reason.INVALID_VALUES, place, message, f"a dot is part of a name: nest it as {nested}: …}}")
    near = difflib.get_close_matches(name, [key for key, found in siblings.items() if found.of(minor)], 1)
    if near:
        return Violation(Reason.INVALID_VALUES, place, message, f"did you mean {'.'.join((*path[:-1], near[0]))}?")
    return Violation(Reason.INVALID_VALUES, place, message, "take it out")


def _unknown(
    values: Mapping[str, Any], known: Mapping[str, Key], minor: int, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Key]]]:
    """Paths that are not known, each with the keys beside it; no deeper than the keys themselves go."""
    for name, value in values.items():
        key = known.get(name)
        if not above and name == _EVERYWHERE:
            continue
        if key is None or not key.of(minor):
            yield (*above, str(name)), known
        elif key.below and isinstance(value, Mapping):
            yield from _unknown(value, key.below, minor, (*above, name))


@cache
def known_keys() -> Mapping[str, Key]:
    """The tree of keys."""
    top = Key()
    stack = [top]
    for line in files(__package__).joinpath("chart_keys.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, _, minors = line.strip().partition(" ")
        del stack[len(line) - len(line.lstrip()) + 1 :]
        first, _, last = minors.replace("1.", "").partition("-")
        parent = stack[-1]
        key = Key(int(first or parent.first), int(last or first or parent.last))
        parent.below[name] = key
        stack.append(key)
    return top.below
