"""The rules of kstatus and of metav1.Condition, on a resource's statuses in the order in which they were written.

Each is given as the resource after the write, with the moment of the write as `at`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

Object = Mapping[str, Any]

_REASON: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_FIELDS: Final = {"type", "status", "reason", "message", "observedGeneration", "lastTransitionTime"}
_LONGEST_MESSAGE: Final = 32_768
_ONLY_WHILE_TRUE: Final = ("Reconciling", "Stalled")


def faults(written: Sequence[Object]) -> list[str]:
    """What the statuses of one resource break, each with the generation and the status that breaks it."""
    found = [f"{fault}: {_shown(one)}" for one in written for rule in _OF_EACH for fault in rule(one)]
    return found + [
        f"{fault}: {_shown(old)} and then {_shown(new)}"
        for old, new in pairwise(written)
        for rule in _OF_TWO
        for fault in rule(old, new)
    ]


def _speaks_of_a_generation(resource: Object) -> Iterator[str]:
    observed, generation = resource["status"].get("observedGeneration"), resource["metadata"]["generation"]
    if not isinstance(observed, int) or not 1 <= observed <= generation:
        yield f"observedGeneration is {observed}"
    for condition in _conditions(resource):
        if condition.get("observedGeneration") != observed:
            yield f"condition {condition.get('type')} speaks of another generation than the status"


def _says_ready(resource: Object) -> Iterator[str]:
    said = [one.get("status") for one in _conditions(resource) if one.get("type") == "Ready"]
    if len(said) != 1 or said[0] not in {"True", "False", "Unknown"}:
        yield f"Ready says {said}"


def _is_at_work_or_stalled_or_neither(resource: Object) -> Iterator[str]:
    there = {one.get("type"): one.get("status") for one in _conditions(resource)}
    abnormal = [kind for kind in _ONLY_WHILE_TRUE if kind in there]
    for kind in abnormal:
        if there[kind] != "True":
            yield f"{kind} is there and {there[kind]}"
    if len(abnormal) > 1:
        yield "Reconciling and Stalled at once"
    if abnormal and there.get("Ready") == "True":
        yield f"Ready and {abnormal[0]} at once"


def _repeats_what_blocks(resource: Object) -> Iterator[str]:
    by_type = {one.get("type"): one for one in _conditions(resource)}
    for kind in _ONLY_WHILE_TRUE:
        for field in ("reason", "message"):
            if kind in by_type and by_type[kind].get(field) != by_type.get("Ready", {}).get(field):
                yield f"{kind} and Ready differ in their {field}"


def _has_conditions_in_form(resource: Object) -> Iterator[str]:
    kinds = [one.get("type") for one in _conditions(resource)]
    if len(set(kinds)) != len(kinds):
        yield "a condition is there twice"
    for one in _conditions(resource):
        if one.keys() != _FIELDS:
            yield f"condition {one.get('type')} has the fields {sorted(one)}"
            continue
        if one["status"] not in {"True", "False", "Unknown"}:
            yield f"condition {one['type']} is {one['status']}"
        if not _REASON.fullmatch(one["reason"]):
            yield f"condition {one['type']} has the reason {one['reason']!r}"
        if not one["message"] or len(one["message"]) > _LONGEST_MESSAGE:
            yield f"condition {one['type']} has a message of {len(one['message'])} characters"
        if not _MOMENT.fullmatch(one["lastTransitionTime"]):
            yield f"condition {one['type']} changed at {one['lastTransitionTime']}"


def _moves_the_time_with_the_status(old: Object, new: Object) -> Iterator[str]:
    before = {one["type"]: one for one in _conditions(old)}
    for one in _conditions(new):
        was = before.get(one["type"])
        if was is None:
            continue
        same = was["status"] == one["status"]
        if same and one["lastTransitionTime"] != was["lastTransitionTime"]:
            yield f"the transition time of {one['type']} moved and its status did not"
        # In whole seconds; what was seen after a write cannot be older than it.
        if not same and _when(one) < _moment(old["at"]).replace(microsecond=0):
            yield f"the status of {one['type']} changed and its transition time did not"


def _never_goes_back(old: Object, new: Object) -> Iterator[str]:
    if new["status"]["observedGeneration"] < old["status"]["observedGeneration"]:
        yield "observedGeneration went back"


def _says_something_new(old: Object, new: Object) -> Iterator[str]:
    if old["status"] == new["status"]:
        yield "the same status was written twice"


_OF_EACH: Final[tuple[Callable[[Object], Iterator[str]], ...]] = (
    _speaks_of_a_generation,
    _says_ready,
    _is_at_work_or_stalled_or_neither,
    _repeats_what_blocks,
    _has_conditions_in_form,
)
_OF_TWO: Final[tuple[Callable[[Object, Object], Iterator[str]], ...]] = (
    _moves_the_time_with_the_status,
    _never_goes_back,
    _says_something_new,
)


def _conditions(resource: Object) -> Sequence[Object]:
    found: Sequence[Object] = resource["status"].get("conditions") or ()
    return found


def _when(condition: Object) -> datetime:
    return _moment(condition["lastTransitionTime"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _shown(resource: Object) -> str:
    return f"generation {resource['metadata']['generation']}, {resource['status']}"
