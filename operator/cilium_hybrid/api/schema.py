"""Convert pydantic schemas into structural schemas, as a CustomResourceDefinition needs them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import WithJsonSchema

preserve_unknown: Final = WithJsonSchema(
    {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, mode="validation"
)

UNSUPPORTED: Final = ("title", "default", "examples", "additionalProperties")
LIST_TYPE: Final = "x-kubernetes-list-type"


Rule = tuple[str, str] | tuple[str, str, str]


def validations(*rules: Rule) -> dict[str, Any]:
    """Return the schema extension for CEL rules, each (rule, message) or (rule, message, fieldPath)."""
    keys = ("rule", "message", "fieldPath")
    return {"x-kubernetes-validations": [dict(zip(keys, rule, strict=False)) for rule in rules]}


def list_map(*keys: str) -> dict[str, Any]:
    """Return the schema extension for a list whose entries are identified by the fields `keys`."""
    return {LIST_TYPE: "map", "x-kubernetes-list-map-keys": list(keys)}


def int_or_string(**limits: Any) -> dict[str, Any]:
    """Return the schema of an IntOrString; numeric limits apply to integers, `pattern` applies to strings."""
    return {"x-kubernetes-int-or-string": True, **limits}


def structural(schema: dict[str, Any]) -> dict[str, Any]:
    """Resolve references, drop what a structural schema may not contain, and give every list a type.

    Defaults are dropped as well: if the API server filled them in, every GitOps tool would see a difference.
    Lists are atomic unless they name another type.
    Source: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions", structural schemas.
    """
    return _structural(resolved(schema))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with every reference replaced by what it refers to, and `null` removed from every choice."""
    return _resolve(schema, schema.get("$defs", {}))


def _resolve(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _resolve({**definitions[node["$ref"].removeprefix("#/$defs/")], **rest}, definitions)
    if "anyOf" in node:
        (only,) = (choice for choice in node["anyOf"] if choice.get("type") != "null")
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return _resolve({**only, **rest}, definitions)
    plain = {key: value for key, value in node.items() if key != "$defs"}
    return _with_subschemas(plain, lambda child: _resolve(child, definitions))


def _structural(node: dict[str, Any]) -> dict[str, Any]:
    kept = {
        key: value
        for key, value in node.items()
        if key not in UNSUPPORTED or (key == "additionalProperties" and isinstance(value, dict))
    }
    if kept.get("type") == "array":
        kept.setdefault(LIST_TYPE, "atomic")
    return _with_subschemas(kept, _structural)


def _with_subschemas(node: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    result = dict(node)
    if "properties" in node:
        result["properties"] = {name: change(child) for name, child in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            result[key] = change(node[key])
    return result


def without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    """Drop fields that are null, as the API server does before validation; it keeps nulls in lists and free maps."""
    if isinstance(value, list):
        return [without_nulls(item, schema.get("items", {})) for item in value]
    if not isinstance(value, Mapping):
        return value
    fields = schema.get("properties", {})
    return {
        key: without_nulls(child, fields.get(key, {}))
        for key, child in value.items()
        if child is not None or key not in fields
    }


def without_enums(node: dict[str, Any]) -> dict[str, Any]:
    """Drop every enum, so that a newer operator may write new values into the status."""
    return _with_subschemas({key: value for key, value in node.items() if key != "enum"}, without_enums)
