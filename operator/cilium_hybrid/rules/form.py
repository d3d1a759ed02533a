"""Faults of form: what the schema of the CRD refuses, in words that name the value and what it may be."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import Spec, parse_spec
from cilium_hybrid.rules.rule import Violation

LONGEST_SHOWN: Final = 60
Location = tuple[int | str, ...]

_WHAT_IT_TAKES: Final[Mapping[str, str]] = {
    "spec.version": "write X.Y.Z or X.Y.Z-N, such as 1.17.13-1, in quotes where YAML would read a number",
    "spec.chart.ref": "write oci://REGISTRY/REPOSITORY without a tag, or an absolute path",
    "spec.chart.digest": "write sha256: and 64 hexadecimal digits",
}


def faults_of_form(raw: object) -> tuple[Violation, ...]:
    """Every fault that the API server would find in the form of a spec; any JSON value will do."""
    try:
        parse_spec(raw)
    except ValidationError as error:
        return tuple(_violations(error))
    except RecursionError:
        return (Violation(Reason.INVALID_SPEC, "spec", "is nested too deeply to be read", "take out a level"),)
    return ()


def _violations(error: ValidationError) -> Iterator[Violation]:
    for fault in error.errors(include_url=False):
        path = path_of(fault["loc"])
        message, fix = _in_words(fault["type"], fault["loc"], fault["input"], fault.get("ctx") or {})
        yield Violation(Reason.INVALID_SPEC, path, message, _WHAT_IT_TAKES.get(path, fix))


def path_of(location: Sequence[int | str]) -> str:
    """spec.ipam.podCIDRs[0], as kubectl writes it."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(["spec", *parts])


def _in_words(kind: str, location: Location, value: object, context: Mapping[str, Any]) -> tuple[str, str]:
    match kind:
        case "json_invalid":
            return "is nested too deeply to be read", "take out a level"
        case "missing":
            return "is required and missing", "add it"
        case "extra_forbidden":
            near = difflib.get_close_matches(str(location[-1]), _fields_at(location[:-1]), 1)
            return "is no field of CiliumHybrid", f"did you mean {near[0]}?" if near else "take it out"
        case "greater_than_equal" | "less_than_equal":
            bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
            return f"is {shown(value)}", f"write {bound}"
        case "too_short" | "too_long":
            bound = (
                f"at least {context.get('min_length')}" if kind == "too_short" else f"at most {context['max_length']}"
            )
            return f"has {context['actual_length']} entries", f"write {bound}"
        case "string_too_long":
            return f"is {shown(value)}", f"write at most {context['max_length']} characters"
        case "enum":
            return f"is {shown(value)}", f"write {context['expected'].replace(chr(39), '')}"
        case "string_pattern_mismatch":
            return f"is {shown(value)}", "write it in the form that the reference gives"
        case _ if kind.endswith("_type"):
            wanted = _KINDS.get(kind.removesuffix("_type"), kind.removesuffix("_type"))
            return f"is {shown(value)}", f"write {wanted}"
        case _:
            return f"is {shown(value)}, which cannot be used", "see the reference"


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


def _fields_at(location: Location) -> list[str]:
    """The names of the fields at a place of the spec."""
    model: type[BaseModel] = Spec
    for part in location:
        found = next((f for name, f in model.model_fields.items() if part in {name, f.alias}), None)
        kinds = () if found is None else (found.annotation, *get_args(found.annotation))
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return [field.alias or name for name, field in model.model_fields.items()]
