"""Value keys that the chart does not know: it accepts any of them without an error, so a typo has no effect.

The keys are in the files of `minors/`. A minor newer than all of these is compared with the newest one.
"""

import difflib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources.abc import Traversable
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.supported_minors import MINORS_FOLDER, Minor, Series, known_minors, read_minor_files

MAX_WARNINGS: Final = 20
"""So many keys are named, and the others counted: the search for a similar key is slow."""
_HELM_GLOBAL: Final = "global"
"""Helm gives it to every chart, whether the chart reads it or not."""


@dataclass(slots=True)
class Key:
    """A key and the keys below it; where there are none in any minor, anything is allowed below it.

    `changes` are the minors in which it was added, removed, added again and so on, oldest first.
    """

    changes: tuple[Series, ...]
    below: dict[str, "Key"] = field(default_factory=dict)

    def is_known(self, series: Series) -> bool:
        """Whether the chart of a minor has the key."""
        return bisect_right(self.changes, series) % 2 == 1

    def change_around(self, series: Series) -> str:
        """Return why a minor does not have the key: when it was removed, or when it is added."""
        count = bisect_right(self.changes, series)
        major, minor = self.changes[count - 1 if count else 0]
        return f"{'removed' if count else 'added'} in {major}.{minor}"


def keys_are_known(spec: LenientSpec) -> Iterator[Violation]:
    """Each key that the chart does not know, with the most similar one that it does."""
    minor = None if spec.version is None else _compared_with((spec.version.major, spec.version.minor))
    if spec.version is None or minor is None:
        return
    chart = f"the Cilium {minor} chart"
    effect = "has no effect"
    if minor.series != (spec.version.major, spec.version.minor):
        chart = f"{chart}, the newest known"
        effect = f"may have no effect in {spec.version.series}"
    unknown = 0
    for path, siblings in _unknown(spec.values, known_keys(), minor.series):
        unknown += 1
        if unknown <= MAX_WARNINGS:
            change, fix = _change_and_fix(path, siblings, minor.series)
            message = f"unknown key in {chart}{change}; it {effect}"
            yield Violation(Reason.INVALID_VALUES, ".".join(("spec.values", *path)), message, fix)
    if unknown > MAX_WARNINGS:
        message = f"{unknown - MAX_WARNINGS} more unknown keys in {chart}"
        yield Violation(Reason.INVALID_VALUES, "spec.values", message, "remove them")


def _compared_with(series: Series) -> Minor | None:
    """Return the minor whose keys are compared; None for one before the oldest known and for another major release."""
    known = known_minors()
    if series[0] != known[-1].series[0]:
        return None
    return next((minor for minor in reversed(known) if minor.series <= series), None)


def _change_and_fix(path: tuple[str, ...], siblings: Mapping[str, Key], series: Series) -> tuple[str, str]:
    """Return when the key comes or went, if it ever does, and what to do instead."""
    name = path[-1]
    if (other := siblings.get(name)) is not None:
        return f" ({other.change_around(series)})", "remove it"
    if name.partition(".")[0] in siblings and "." in name:
        return "", f"the dot is part of its name; nest the keys as {name.replace('.', ': {', 1)}: …}}"
    similar = difflib.get_close_matches(name, [key for key, found in siblings.items() if found.is_known(series)], 1)
    return "", f"did you mean {'.'.join((*path[:-1], similar[0]))}?" if similar else "remove it"


def _unknown(
    values: Mapping[str, Any], known: Mapping[str, Key], series: Series, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Key]]]:
    """Return the paths that a minor does not have, each with the keys beside it, as deep as keys are known."""
    for name, value in values.items():
        key = known.get(name)
        if not above and name == _HELM_GLOBAL:
            continue
        if key is None or not key.is_known(series):
            yield (*above, str(name)), known
        elif key.below and isinstance(value, Mapping):
            yield from _unknown(value, key.below, series, (*above, name))


@cache
def known_keys() -> Mapping[str, Key]:
    """Return the tree of the keys that the operator knows."""
    return load_keys()


def load_keys(folder: Traversable = MINORS_FOLDER) -> Mapping[str, Key]:
    """Return the tree of the keys in a folder's files; ValueError where a file does not fit those before it."""
    top: dict[str, Key] = {}
    for series, file in read_minor_files(folder).items():
        first = (series,)
        for path in file.keys.added.splitlines():
            names = path.split(".")
            siblings = _siblings(top, names, series)
            key = siblings.get(names[-1])
            if key is None:
                siblings[names[-1]] = Key(first)
            else:
                _change(key, path, series, added=True)
        for path in file.keys.removed.splitlines():
            names = path.split(".")
            key = _siblings(top, names, series).get(names[-1])
            if key is None:
                raise ValueError(f"{series[0]}.{series[1]}.yaml: keys.removed: {path} was never added")
            _change(key, path, series, added=False)
    return top


def _siblings(top: dict[str, Key], names: list[str], series: Series) -> dict[str, Key]:
    for count, name in enumerate(names[:-1], 1):
        if name not in top:
            raise ValueError(
                f"{series[0]}.{series[1]}.yaml: keys: {'.'.join(names[:count])} is missing above {names[-1]}"
            )
        top = top[name].below
    return top


def _change(key: Key, path: str, series: Series, *, added: bool) -> None:
    if key.is_known(series) is added:
        raise ValueError(f"{series[0]}.{series[1]}.yaml: keys: {path} is {'added' if added else 'removed'} twice")
    key.changes = (*key.changes, series)
