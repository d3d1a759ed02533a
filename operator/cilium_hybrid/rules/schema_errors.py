"""Faults of form: what the schema of the CRD refuses, in words that name the value and what it may be."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import SPEC_SCHEMA, parse_spec
from cilium_hybrid.rules.rule import Violation

LONGEST_SHOWN: Final = 60
MOST_FAULTS: Final = 256
"""So many are told; who writes more has written something else than a spec."""
Location = tuple[int | str, ...]

_WHAT_IT_TAKES: Final[Mapping[str, str]] = {
    "spec.version": "write X.Y.Z or X.Y.Z-N, such as 1.17.13-1, in quotes where YAML would read a number",
    "spec.chart.ref": "write oci://REGISTRY/REPOSITORY without a tag, or an absolute path",
    "spec.chart.digest": "write sha256: and 64 hexadecimal digits",
    "spec.registryMirror": "write HOST[:PORT][/PATH] without a scheme, such as mirror.example.com/ecr-public",
    "spec.ipam": "write podCIDRs and maskSize below it",
    "spec.upgrade.rollout.soak": "write a duration such as 30s or 10m",
    "spec.upgrade.rollout.progressDeadline": "write a duration such as 20m or 1h30m",
}

_TOO_DEEP: Final = Violation(Reason.INVALID_SPEC, "spec", "is nested too deeply to be read", "take out a level")


def schema_errors(raw: object) -> tuple[Violation, ...]:
    """The faults that the API server would find in the form of a spec; any JSON value will do."""
    found = tuple(_violations(_faults(raw)))
    if _TOO_DEEP in found and isinstance(raw, Mapping) and isinstance(raw.get("values"), Mapping):
        # How deep values may be is told by a rule on them, and nothing else shall be hidden by their depth.
        return tuple(_violations(_faults({**raw, "values": {}})))
    return found


def _faults(raw: object) -> Sequence[ErrorDetails]:
    try:
        parse_spec(raw)
    except ValidationError as error:
        return error.errors(include_url=False)
    except RecursionError:
        return [{"type": "json_invalid", "loc": (), "msg": "", "input": None, "ctx": {"error": "recursion"}}]
    return []


def _violations(faults: Sequence[ErrorDetails]) -> Iterator[Violation]:
    meant = {(*fault["loc"][:-1], _nearest(fault["loc"])) for fault in faults if fault["type"] == "extra_forbidden"}
    for fault in faults[:MOST_FAULTS]:
        # pydantic does not count entries of a wrong kind, and those were told already.
        if fault["type"] == "too_short" and fault["input"]:
            continue
        # It is there under a name with a slip in it.
        if fault["type"] == "missing" and fault["loc"] in meant:
            continue
        if fault["type"] == "json_invalid" and "recursion" in fault["ctx"]["error"]:
            yield _TOO_DEEP
            continue
        path = path_of(fault["loc"])
        message, fix = _in_words(fault["type"], fault["loc"], fault["input"], fault.get("ctx") or {})
        yield Violation(Reason.INVALID_SPEC, path, message, _WHAT_IT_TAKES.get(path, fix))


def path_of(location: Sequence[int | str]) -> str:
    """spec.ipam.podCIDRs[0], as kubectl writes it."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(["spec", *parts])


def _in_words(kind: str, location: Location, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    match kind:
        case "json_invalid":
            return "holds half of a surrogate pair, which is no character", "take it out"
        case "missing" | "model_type" if value is None or kind == "missing":
            return "is required and missing", "add it"
        case "extra_forbidden":
            near = _nearest(location)
            return "is no field of CiliumHybrid", f"did you mean {near}?" if near else "take it out"
        case "string_too_long":
            return f"has {len(value)} characters, and may have {context['max_length']}", "write a shorter one"
        case "too_short":
            return "has no entry", f"write at least {context['min_length']}"
        case "too_long":
            return f"has {context['actual_length']} entries", f"write at most {context['max_length']}"
        case _:
            fix = _FIXES.get(kind, "write it in the form that the reference gives")
            return f"is {shown(value)}", fix.format(**context).replace("'", "")


_FIXES: Final[Mapping[str, str]] = {
    "bool_type": "write true or false",
    "dict_type": "write a map",
    "enum": "write {expected}",
    "greater_than_equal": "write at least {ge}",
    "int_type": "write a whole number",
    "less_than_equal": "write at most {le}",
    "model_type": "write a map",
    "string_type": "write a text, in quotes where YAML would read something else",
    "tuple_type": "write a list",
}


def shown(value: object) -> str:
    """A value in a sentence: short, on one line, without characters that a terminal would obey."""
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    text = json.dumps(value)
    return text if len(text) <= LONGEST_SHOWN else f'{text[: LONGEST_SHOWN - 2]}…"'


def _nearest(location: Location) -> str | None:
    """The field whose name is the most like the last one of a location."""
    fields = {_plain(name): name for name in _fields_at(location[:-1])}
    near = difflib.get_close_matches(_plain(str(location[-1])), fields, 1)
    return fields[near[0]] if near else None


def _plain(name: str) -> str:
    """A name without what is written in many ways, so that pod_cidrs is near to podCIDRs."""
    return name.replace("_", "").replace("-", "").lower()


def _fields_at(location: Location) -> list[str]:
    """The names of the fields at a place of the spec."""
    place: Mapping[str, Any] = SPEC_SCHEMA
    for part in location:
        place = place["items"] if isinstance(part, int) else place["properties"][part]
    return list(place["properties"])
