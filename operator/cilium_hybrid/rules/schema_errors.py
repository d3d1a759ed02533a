"""Schema errors of a spec, in the wording of Kubernetes field errors (k8s.io/apimachinery, util/validation/field)."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import SPEC_SCHEMA, parse_spec
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.text import format_value

MAX_ERRORS: Final = 256
"""Maximum number of errors reported; a document with more of them is not a spec."""
Location = tuple[int | str, ...]

_VERSION: Final = "must be X.Y.Z or X.Y.Z-N, such as 1.17.13-1"
_DIGEST: Final = "must be sha256: followed by 64 lowercase hexadecimal digits"
_DURATION: Final = "must be a duration such as 30s, 10m or 1h30m"
_FORMATS: Final[Mapping[str, str]] = {
    "spec.apiServer.host": "must be a full host name without scheme or port, such as api.example.com",
    "spec.version": _VERSION,
    "spec.chart.ref": "must be oci://REGISTRY/REPOSITORY without a tag, or an absolute path",
    "spec.chart.digest": _DIGEST,
    "spec.imagePullSecrets[].name": "must be the name of a Secret: lowercase letters, digits, '-' and '.'",
    "spec.registryMirror": "must be HOST[:PORT][/PATH] without a scheme, such as mirror.example.com/ecr-public",
    "spec.upgrade.preflight.timeout": _DURATION,
    "spec.upgrade.rollout.maxUnavailable": "must be an integer from 1 to 1000, or a percentage from 1% to 100%",
    "spec.upgrade.rollout.progressDeadline": _DURATION,
    "spec.upgrade.rollout.soak": _DURATION,
    "spec.upgrade.via[].digest": _DIGEST,
    "spec.upgrade.via[].version": _VERSION,
}
"""What the strings with a format may be, by path."""
_TYPES: Final[Mapping[str, str]] = {
    "bool_type": "must be true or false",
    "dict_type": "must be a map",
    "int_type": "must be an integer",
    "model_type": "must be a map",
    "string_type": "must be a string",
    "tuple_type": "must be a list",
}

_TOO_DEEP: Final = Violation(Reason.INVALID_SPEC, "spec", "is nested too deeply to be parsed", "remove a level")


def schema_errors(raw: object) -> tuple[Violation, ...]:
    """Return the errors that the API server would find by the schema of the CRD; `raw` may be any JSON value."""
    found = tuple(_violations(_errors(raw)))
    if _TOO_DEEP in found and isinstance(raw, Mapping) and isinstance(raw.get("values"), Mapping):
        # A rule on spec.values reports how deep they may be; their depth must not hide other errors.
        return tuple(_violations(_errors({**raw, "values": {}})))
    return found


def _errors(raw: object) -> Sequence[ErrorDetails]:
    try:
        parse_spec(raw)
    except ValidationError as error:
        return error.errors(include_url=False)
    except RecursionError:
        return [{"type": "json_invalid", "loc": (), "msg": "", "input": None, "ctx": {"error": "recursion"}}]
    return []


def _violations(errors: Sequence[ErrorDetails]) -> Iterator[Violation]:
    meant = {(*error["loc"][:-1], _nearest(error["loc"])) for error in errors if error["type"] == "extra_forbidden"}
    for error in errors[:MAX_ERRORS]:
        # pydantic does not count entries of a wrong type, which are reported already.
        if error["type"] == "too_short" and error["input"]:
            continue
        # The field is present under a misspelled name, which is reported already.
        if error["type"] == "missing" and error["loc"] in meant:
            continue
        if error["type"] == "json_invalid" and "recursion" in error["ctx"]["error"]:
            yield _TOO_DEEP
            continue
        message, fix = _message_and_fix(error["type"], error["loc"], error["input"], error.get("ctx") or {})
        yield Violation(Reason.INVALID_SPEC, path_of(error["loc"]), message, fix)


def path_of(location: Sequence[int | str]) -> str:
    """Return the field path as kubectl writes it, such as spec.ipam.podCIDRs[0]."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(["spec", *parts])


def _message_and_fix(kind: str, location: Location, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    match kind:
        case "json_invalid":
            return "contains an unpaired surrogate, which is not a character", "remove it"
        case "missing" | "model_type" if value is None or kind == "missing":
            return "Required value", "set podCIDRs and maskSize" if location == ("ipam",) else ""
        case "extra_forbidden":
            near = _nearest(location)
            return "Unknown field", f"did you mean {path_of((*location[:-1], near))}?" if near else "remove it"
        case "string_too_long":
            return f"Too long: must have at most {context['max_length']} characters", ""
        case "too_short":
            return f"Invalid value: []: must have at least {context['min_length']} item", ""
        case "too_long":
            return f"Too many: {context['actual_length']}: must have at most {context['max_length']} items", ""
        case "enum":
            supported = re.findall(r"'([^']*)'", context["expected"])
            values = ", ".join(f'"{name}"' for name in supported)
            return f"Unsupported value: {format_value(value)}: supported values: {values}", ""
        case _:
            expected = _expected(kind, path_of(location), context)
            # YAML reads 1.17 as a number, and yes as a boolean; a duration needs a unit, not quotes.
            quotable = kind == "string_type" and isinstance(value, int | float) and expected != _DURATION
            fix = "put it in quotes" if quotable else ""
            return f"Invalid value: {format_value(value)}: {expected}", fix


def _expected(kind: str, path: str, context: Mapping[str, Any]) -> str:
    by_path = _FORMATS.get(re.sub(r"\[\d+\]", "[]", path))
    if by_path is not None:
        return by_path
    match kind:
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "string_too_short":
            return "must not be empty"
        case _:
            return _TYPES.get(kind, "must have the format that the API reference gives")


def _nearest(location: Location) -> str | None:
    """Return the name of the field that is most similar to the last one of a location."""
    fields = {_normalized(name): name for name in _fields_at(location[:-1])}
    near = difflib.get_close_matches(_normalized(str(location[-1])), fields, 1)
    return fields[near[0]] if near else None


def _normalized(name: str) -> str:
    """Return a name without case and separators, so that pod_cidrs is similar to podCIDRs."""
    return name.replace("_", "").replace("-", "").lower()


def _fields_at(location: Location) -> list[str]:
    """Return the names of the fields at a location of the spec."""
    place: Mapping[str, Any] = SPEC_SCHEMA
    for part in location:
        place = place["items"] if isinstance(part, int) else place["properties"][part]
    return list(place["properties"])
