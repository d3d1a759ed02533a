"""Faults of form: what the schema of the CRD refuses, in words that name the value and what it may be."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import Spec, parse_spec
from cilium_hybrid.rules.rule import Violation

LONGEST_SHOWN: Final = 60
Location = tuple[int | str, ...]

_WHAT_IT_TAKES: Final[Mapping[str, str]] = {
    "spec.version": "write X.Y.Z or X.Y.Z-N, such as 1.17.13-1, in quotes where YAML would read a number",
    "spec.chart.ref": "write oci://REGISTRY/REPOSITORY without a tag, or an absolute path",
    "spec.chart.digest": "write sha256: and 64 hexadecimal digits",
    "spec.ipam": "write podCIDRs and maskSize below it",
}
_TOO_DEEP: Final = Violation(Reason.INVALID_SPEC, "spec", "is nested too deeply to be read", "take out a level")


def faults_of_form(raw: object) -> tuple[Violation, ...]:
    """Every fault that the API server would find in the form of a spec; any JSON value will do."""
    found = tuple(_violations(raw))
    if _TOO_DEEP in found and isinstance(raw, Mapping) and isinstance(raw.get("values"), Mapping):
        # How deep values may be is told by a rule on them, and nothing else shall be hidden by their depth.
        return tuple(_violations({**raw, "values": {}}))
    return found


def _violations(raw: object) -> Iterator[Violation]:
    faults = _faults(raw)
    meant = {(*fault["loc"][:-1], _nearest(fault["loc"])) for fault in faults if fault["type"] == "extra_forbidden"}
    for fault in faults:
        kind, location, value, context = fault["type"], fault["loc"], fault["input"], fault.get("ctx") or {}
        if (kind == "missing" and location in meant) or _is_told_otherwise(kind, location, value, context):
            continue
        if kind == "json_invalid" and "recursion" in context["error"]:
            yield _TOO_DEEP
            continue
        path = path_of(location)
        message, fix = _in_words(kind, location, value, context)
        yield Violation(Reason.INVALID_SPEC, path, message, _WHAT_IT_TAKES.get(path, fix))
    for location in _nulls(raw, Spec):
        message = "is null, which a server-side apply refuses"
        yield Violation(Reason.INVALID_SPEC, path_of(location), message, "take it out, or write a value")


def _faults(raw: object) -> Sequence[ErrorDetails]:
    try:
        parse_spec(_without_nulls(raw, Spec))
    except ValidationError as error:
        return error.errors(include_url=False)
    except RecursionError:
        return [{"type": "json_invalid", "loc": (), "msg": "", "input": None, "ctx": {"error": "recursion"}}]
    return []


def _without_nulls(raw: object, model: type[BaseModel]) -> object:
    """Leave out the fields that are null, such as those whose value is commented out: they are no other fault."""
    if not isinstance(raw, Mapping):
        return raw
    inside = {field.alias or name: _model_of(field) for name, field in model.model_fields.items()}
    fields = {name: value for name, value in raw.items() if value is not None or name not in inside}
    return {
        name: _without_nulls(value, found) if (found := inside.get(name)) else value for name, value in fields.items()
    }


def _nulls(raw: object, model: type[BaseModel], above: Location = ()) -> Iterator[Location]:
    """Fields that are null and need not be there; one that is required is a missing one."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        if not isinstance(raw, Mapping) or key not in raw:
            continue
        if raw[key] is None and not field.is_required():
            yield (*above, key)
        elif (inside := _model_of(field)) is not None:
            yield from _nulls(raw[key], inside, (*above, key))


def _is_told_otherwise(kind: str, location: Location, value: Any, context: Mapping[str, Any]) -> bool:
    """Whether a fault only repeats another: a CIDR is judged by its rules, and bad entries are entries nevertheless."""
    is_cidr = location[:1] == ("networks",) or location[:2] == ("ipam", "podCIDRs")
    return (kind == "string_too_long" and is_cidr) or (kind == "too_short" and len(value) >= context["min_length"])


def path_of(location: Sequence[int | str]) -> str:
    """spec.ipam.podCIDRs[0], as kubectl writes it."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(["spec", *parts])


def _in_words(kind: str, location: Location, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    match kind:
        case "json_invalid":
            return "cannot be read", "take out what is no text"
        case "missing" | "model_type" if value is None or kind == "missing":
            return "is required and missing", "add it"
        case "extra_forbidden":
            near = _nearest(location)
            return "is no field of CiliumHybrid", f"did you mean {near}?" if near else "take it out"
        case "greater_than_equal" | "less_than_equal":
            bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
            return f"is {shown(value)}", f"write {bound}"
        case "too_short" | "too_long":
            bound = (
                f"at least {context.get('min_length')}" if kind == "too_short" else f"at most {context['max_length']}"
            )
            return f"has {context['actual_length']} entries", f"write {bound}"
        case "string_too_long":
            return f"has {len(value)} characters, and may have {context['max_length']}", "write a shorter one"
        case "enum":
            return f"is {shown(value)}", f"write {context['expected'].replace(chr(39), '')}"
        case _ if kind.endswith("_type"):
            wanted = _KINDS.get(kind.removesuffix("_type"), kind.removesuffix("_type"))
            return f"is {shown(value)}", f"write {wanted}"
        case _:
            return f"is {shown(value)}", "write it in the form that the reference gives"


_KINDS: Final[Mapping[str, str]] = {
    "bool": "true or false",
    "dict": "a map",
    "int": "a whole number",
    "model": "a map",
    "string": "a text, in quotes where YAML would read something else",
    "tuple": "a list",
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
    fields = {_plain(name): field.alias or name for name, field in _fields_at(location[:-1]).items()}
    near = difflib.get_close_matches(_plain(str(location[-1])), fields, 1)
    return fields[near[0]] if near else None


def _plain(name: str) -> str:
    """A name without what is written in many ways, so that pod_cidrs is near to podCIDRs."""
    return name.replace("_", "").replace("-", "").lower()


def _fields_at(location: Location) -> Mapping[str, FieldInfo]:
    """The fields at a place of the spec."""
    model: type[BaseModel] | None = Spec
    for part in location:
        found = next((f for name, f in model.model_fields.items() if part in {name, f.alias}), None) if model else None
        model = _model_of(found) if found else None
    return model.model_fields if model else {}


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of what a field holds, if it holds a map of fields."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
