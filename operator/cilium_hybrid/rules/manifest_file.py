"""The resource around its spec: what it says that it is, and what it is called."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import GROUP, KIND, NAME, VERSION
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.schema_errors import shown
from cilium_hybrid.rules.spec import ValidationResult, validate_spec

_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")


def is_ciliumhybrid(body: Any) -> bool:
    """Whether a manifest is a CiliumHybrid, or would be without a slip in its kind or its group."""
    if not isinstance(body, Mapping):
        return False
    return body.get("kind") == KIND or str(body.get("apiVersion")).partition("/")[0] == GROUP


def validate_manifest(body: Mapping[str, Any]) -> ValidationResult:
    """Everything that a manifest shows by itself."""
    around = ValidationResult(tuple(manifest_errors(body)))
    if "spec" not in body and any(_nearest(field) == "spec" for field in body):
        # It is there under a name with a slip in it.
        return around
    return around + validate_spec(body.get("spec"))


def manifest_errors(body: Mapping[str, Any]) -> Iterator[Violation]:
    """Every fault of a manifest outside its spec, as kubectl and the API server would find it."""
    for field, right in (("apiVersion", f"{GROUP}/{VERSION}"), ("kind", KIND)):
        if body.get(field) != right:
            yield Violation(Reason.INVALID_SPEC, field, _instead(body, field), f"write {right}")
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if name != NAME:
        message = "is missing" if name is None else f"is {shown(name)}, and a cluster has one CNI"
        yield Violation(Reason.INVALID_SPEC, "metadata.name", message, f"write {NAME}")
    for field in body:
        if field not in _FIELDS:
            near = _nearest(field)
            fix = f"did you mean {near}?" if near else "take it out"
            yield Violation(Reason.INVALID_SPEC, field, f"is no field of {KIND}", fix)


def _nearest(field: str) -> str | None:
    near = difflib.get_close_matches(field, _FIELDS, 1)
    return near[0] if near and near[0] != field else None


def _instead(body: Mapping[str, Any], field: str) -> str:
    return f"is {shown(body[field])}" if field in body else "is missing"
