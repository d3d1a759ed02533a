from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.crd import crd_yaml, custom_resource_definition

RULES = "x-kubernetes-validations"
LIST_TYPE = "x-kubernetes-list-type"


def schema() -> dict[str, Any]:
    (version,) = custom_resource_definition()["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def nodes_of(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes_of(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes_of(node["items"], f"{path}[]")


NODES = [pytest.param(node, id=path or "root") for path, node in nodes_of(schema())]


def test_the_yaml_is_the_definition() -> None:
    assert yaml.safe_load(crd_yaml()) == custom_resource_definition()


def test_the_resource_is_cluster_scoped_and_has_a_status_subresource() -> None:
    spec = custom_resource_definition()["spec"]

    assert spec["scope"] == "Cluster"
    assert spec["names"]["shortNames"] == ["chy"]
    assert spec["names"]["categories"] == ["cilium"]
    assert spec["versions"][0]["subresources"] == {"status": {}}


@pytest.mark.parametrize("node", NODES)
def test_the_schema_is_structural(node: dict[str, Any]) -> None:
    if node.get("x-kubernetes-int-or-string"):
        assert "type" not in node
    else:
        assert node["type"] in {"object", "array", "string", "integer", "boolean"}
    assert not {"$ref", "$defs", "anyOf", "allOf", "title", "examples", "propertyNames"} & node.keys()
    # A structural schema takes a schema for additional properties, and only in place of named properties.
    assert isinstance(node.get("additionalProperties", {}), dict)
    assert not {"properties", "additionalProperties"} <= node.keys()


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(node, id=path)
        for path, node in nodes_of(schema())
        if path.startswith((".spec", ".status")) and not path.endswith("[]")
    ],
)
def test_every_field_is_described(node: dict[str, Any]) -> None:
    assert node["description"].strip()


@pytest.mark.parametrize(
    "node", [pytest.param(node, id=path or "root") for path, node in nodes_of(schema()) if node.get("type") == "object"]
)
def test_a_rule_on_an_object_names_the_field_that_it_checks(node: dict[str, Any]) -> None:
    assert [rule["message"] for rule in node.get(RULES, []) if "fieldPath" not in rule] == []


def test_no_rule_compares_a_version_with_the_previous_one() -> None:
    """A blocked change of version must be revertible, so the operator alone validates it, against what runs."""
    rules = [rule["rule"] for _, node in nodes_of(schema()) for rule in node.get(RULES, [])]

    assert any("oldSelf" in rule for rule in rules)
    assert [rule for rule in rules if "oldSelf" in rule and "version" in rule.lower()] == []
    assert RULES not in schema()["properties"]["spec"]["properties"]["version"]


def test_a_newer_operator_may_write_unknown_values_into_the_status() -> None:
    status = schema()["properties"]["status"]

    assert not [path for path, node in nodes_of(status) if "enum" in node]


def test_values_take_any_field() -> None:
    values = schema()["properties"]["spec"]["properties"]["values"]

    assert values["x-kubernetes-preserve-unknown-fields"] is True


LISTS = [pytest.param(path, node, id=path) for path, node in nodes_of(schema()) if node.get("type") == "array"]
MAPS = {".spec.imagePullSecrets": ["name"], ".status.conditions": ["type"]}
"""Lists whose entries are identified by a key; the others are replaced as a whole."""


@pytest.mark.parametrize(("path", "node"), LISTS)
def test_every_list_has_a_type(path: str, node: dict[str, Any]) -> None:
    assert node[LIST_TYPE] == ("map" if path in MAPS else "atomic")
    assert node.get("x-kubernetes-list-map-keys") == MAPS.get(path)


def test_no_field_but_the_status_has_a_default() -> None:
    """A default that the API server fills in would be a difference to every GitOps tool."""
    defaults = {path: node["default"] for path, node in nodes_of(schema()) if "default" in node}

    assert defaults == {".status": {"observedGeneration": -1}}


def test_only_version_and_ipam_are_required() -> None:
    spec = schema()["properties"]["spec"]

    assert set(spec["required"]) == {"version", "ipam"}
    assert set(spec["properties"]["ipam"]["required"]) == {"podCIDRs", "maskSize"}


def test_printer_columns_read_fields_of_the_status() -> None:
    paths = {path for path, _ in nodes_of(schema())}
    columns = custom_resource_definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    plain = [column["jsonPath"] for column in columns if "[" not in column["jsonPath"]]

    assert set(plain) - paths == {".metadata.creationTimestamp"}
    assert all(column["description"].endswith(".") for column in columns)
    names = {priority: [column["name"] for column in columns if column["priority"] == priority] for priority in (0, 1)}
    assert names == {
        0: ["Version", "Target", "Nodes", "Updated", "Ready", "Reason", "Age"],
        1: ["Revision", "Free-Blocks", "Message"],
    }
