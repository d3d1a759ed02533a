"""kstatus: how its clients read a resource, and the rules of kstatus and metav1.Condition for the statuses written.

A written status is the resource after the write, with the time of the write as `at`.
Source: github.com/kubernetes-sigs/cli-utils, pkg/kstatus/status: generic.go and status.go.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

Object = Mapping[str, Any]

_REASON: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_FIELDS: Final = {"type", "status", "reason", "message", "observedGeneration", "lastTransitionTime"}
_MAX_MESSAGE: Final = 32_768
_ONLY_WHILE_TRUE: Final = ("Reconciling", "Stalled")


def compute_status(resource: Object) -> str:
    """Return what kstatus computes for a custom resource: InProgress, Failed, Terminating or Current."""
    metadata, status = resource["metadata"], resource.get("status", {})
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != metadata["generation"]:
        return "InProgress"
    by_type = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    if by_type.get("Reconciling") == "True":
        return "InProgress"
    if by_type.get("Stalled") == "True":
        return "Failed"
    # Without a condition Ready, kstatus assumes that there is nothing to wait for.
    return "Current" if by_type.get("Ready", "True") == "True" else "InProgress"


def violations(written: Sequence[Object]) -> list[str]:
    """Return the rules that the statuses of one resource break, each with the statuses that break it."""
    found = [
        f"{violation}: {_describe(resource)}"
        for resource in written
        for rule in _STATUS_RULES
        for violation in rule(resource)
    ]
    return found + [
        f"{violation}: {_describe(old)}, followed by {_describe(new)}"
        for old, new in pairwise(written)
        for rule in _CHANGE_RULES
        for violation in rule(old, new)
    ]


def _observes_a_generation(resource: Object) -> Iterator[str]:
    observed, generation = resource["status"].get("observedGeneration"), resource["metadata"]["generation"]
    if not isinstance(observed, int) or not 1 <= observed <= generation:
        yield f"observedGeneration is {observed}"
    for condition in _conditions(resource):
        if condition.get("observedGeneration") != observed:
            yield f"condition {condition.get('type')} has another observedGeneration than the status"


def _has_ready(resource: Object) -> Iterator[str]:
    ready = [condition.get("status") for condition in _conditions(resource) if condition.get("type") == "Ready"]
    if len(ready) != 1 or ready[0] not in {"True", "False", "Unknown"}:
        yield f"status of Ready is {ready}"


def _is_not_reconciling_stalled_and_ready_at_once(resource: Object) -> Iterator[str]:
    by_type = {condition.get("type"): condition.get("status") for condition in _conditions(resource)}
    abnormal = [kind for kind in _ONLY_WHILE_TRUE if kind in by_type]
    for kind in abnormal:
        if by_type[kind] != "True":
            yield f"{kind} is present and {by_type[kind]}"
    if len(abnormal) > 1:
        yield "Reconciling and Stalled at once"
    if abnormal and by_type.get("Ready") == "True":
        yield f"Ready and {abnormal[0]} at once"


def _ready_repeats_what_blocks(resource: Object) -> Iterator[str]:
    by_type = {condition.get("type"): condition for condition in _conditions(resource)}
    for kind in _ONLY_WHILE_TRUE:
        for field in ("reason", "message"):
            if kind in by_type and by_type[kind].get(field) != by_type.get("Ready", {}).get(field):
                yield f"{kind} and Ready differ in their {field}"


def _has_well_formed_conditions(resource: Object) -> Iterator[str]:
    kinds = [condition.get("type") for condition in _conditions(resource)]
    if len(set(kinds)) != len(kinds):
        yield "two conditions have the same type"
    for condition in _conditions(resource):
        if condition.keys() != _FIELDS:
            yield f"condition {condition.get('type')} has the fields {sorted(condition)}"
            continue
        if condition["status"] not in {"True", "False", "Unknown"}:
            yield f"condition {condition['type']} is {condition['status']}"
        if not _REASON.fullmatch(condition["reason"]):
            yield f"condition {condition['type']} has the reason {condition['reason']!r}"
        if not condition["message"] or len(condition["message"]) > _MAX_MESSAGE:
            yield f"condition {condition['type']} has a message of {len(condition['message'])} characters"
        if not _TIME.fullmatch(condition["lastTransitionTime"]):
            yield f"condition {condition['type']} has the lastTransitionTime {condition['lastTransitionTime']}"


def _transition_time_changes_with_the_status(old: Object, new: Object) -> Iterator[str]:
    by_type = {condition["type"]: condition for condition in _conditions(old)}
    for condition in _conditions(new):
        before = by_type.get(condition["type"])
        if before is None:
            continue
        same = before["status"] == condition["status"]
        if same and condition["lastTransitionTime"] != before["lastTransitionTime"]:
            yield f"lastTransitionTime of {condition['type']} changed, but its status did not"
        # In whole seconds. A change observed after a write cannot be older than the write.
        if not same and _transition_time(condition) < _parse_time(old["at"]).replace(microsecond=0):
            yield f"the status of {condition['type']} changed, but its lastTransitionTime did not"


def _observed_generation_never_decreases(old: Object, new: Object) -> Iterator[str]:
    if new["status"]["observedGeneration"] < old["status"]["observedGeneration"]:
        yield "observedGeneration decreased"


def _is_not_written_twice(old: Object, new: Object) -> Iterator[str]:
    if old["status"] == new["status"]:
        yield "the same status was written twice"


_STATUS_RULES: Final[tuple[Callable[[Object], Iterator[str]], ...]] = (
    _observes_a_generation,
    _has_ready,
    _is_not_reconciling_stalled_and_ready_at_once,
    _ready_repeats_what_blocks,
    _has_well_formed_conditions,
)
_CHANGE_RULES: Final[tuple[Callable[[Object, Object], Iterator[str]], ...]] = (
    _transition_time_changes_with_the_status,
    _observed_generation_never_decreases,
    _is_not_written_twice,
)


def _conditions(resource: Object) -> Sequence[Object]:
    found: Sequence[Object] = resource["status"].get("conditions") or ()
    return found


def _transition_time(condition: Object) -> datetime:
    return _parse_time(condition["lastTransitionTime"])


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _describe(resource: Object) -> str:
    return f"generation {resource['metadata']['generation']}, {resource['status']}"
