"""Pydantic models to structural schemas, the form that a CustomResourceDefinition takes."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import WithJsonSchema

preserve_unknown: Final = WithJsonSchema(
    {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, mode="validation"
)

UNSUPPORTED: Final = ("title", "default", "additionalProperties")


Rule = tuple[str, str] | tuple[str, str, str]


def validations(*rules: Rule) -> dict[str, Any]:
    """CEL rules as (rule, message) or (rule, message, fieldPath), for a model or a field."""
    keys = ("rule", "message", "fieldPath")
    return {"x-kubernetes-validations": [dict(zip(keys, rule, strict=False)) for rule in rules]}


def structural(schema: dict[str, Any]) -> dict[str, Any]:
    """Resolve references and drop what a structural schema may not hold.

    Defaults go too: an API server that fills them in makes every GitOps tool see a difference.
    Source: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions", structural schemas.
    """
    return _resolve(schema, schema.get("$defs", {}))


def _resolve(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _resolve({**definitions[node["$ref"].removeprefix("#/$defs/")], **rest}, definitions)
    if "anyOf" in node:
        (only,) = (choice for choice in node["anyOf"] if choice.get("type") != "null")
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return _resolve({**only, **rest}, definitions)
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _resolve(child, definitions) for name, child in value.items()}
        elif key == "items" or (key == "additionalProperties" and isinstance(value, dict)):
            result[key] = _resolve(value, definitions)
        elif key not in UNSUPPORTED and key != "$defs":
            result[key] = value
    return result


def without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    """Drop the fields that are null, as the API server does before it judges; in lists and free maps they stay."""
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
    """Open every closed list of words, so that a newer operator may write a newer word into the status."""
    opened: dict[str, Any] = {key: value for key, value in node.items() if key != "enum"}
    if "properties" in node:
        opened["properties"] = {name: without_enums(child) for name, child in node["properties"].items()}
    if "items" in node:
        opened["items"] = without_enums(node["items"])
    return opened
