"""Rules on a manifest outside its spec: API version, kind, name and unknown fields."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import GROUP, KIND, NAME, VERSION
from cilium_hybrid.rules.cluster import validate_offline
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.spec import ValidationResult
from cilium_hybrid.rules.text import format_value

_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")


def is_ciliumhybrid(body: Any) -> bool:
    """Whether a manifest is a CiliumHybrid, possibly with a misspelled kind or API group."""
    if not isinstance(body, Mapping):
        return False
    return body.get("kind") == KIND or str(body.get("apiVersion")).partition("/")[0] == GROUP


def validate_manifest(body: Mapping[str, Any]) -> ValidationResult:
    """Validate a manifest without a cluster."""
    errors = ValidationResult(tuple(manifest_errors(body)))
    if "spec" not in body and any(_nearest(field) == "spec" for field in body):
        # The spec is present under a misspelled name, which is reported already.
        return errors
    return errors + validate_offline(body.get("spec"))


def manifest_errors(body: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield the errors outside the spec that kubectl and the API server would find."""
    for field, expected in (("apiVersion", f"{GROUP}/{VERSION}"), ("kind", KIND)):
        if field not in body:
            yield Violation(Reason.INVALID_SPEC, field, "Required value", f"use {expected}")
        elif body[field] != expected:
            message = f"Invalid value: {format_value(body[field])}: must be {expected}"
            yield Violation(Reason.INVALID_SPEC, field, message)
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if name != NAME:
        is_only_one = f"must be {NAME}, because a cluster has one CNI"
        message = "Required value" if name is None else f"Invalid value: {format_value(name)}: {is_only_one}"
        yield Violation(Reason.INVALID_SPEC, "metadata.name", message, f"use {NAME}" if name is None else "")
    for field in body:
        if field not in _FIELDS:
            near = _nearest(field)
            fix = f"did you mean {near}?" if near else "remove it"
            yield Violation(Reason.INVALID_SPEC, field, "Unknown field", fix)


def _nearest(field: str) -> str | None:
    near = difflib.get_close_matches(field, _FIELDS, 1)
    return near[0] if near and near[0] != field else None
