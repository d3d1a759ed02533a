from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.crd import crd_yaml, custom_resource_definition

RULES = "x-kubernetes-validations"
CRDS = Path(__file__).parents[3] / "crds"


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


NODES = [pytest.param(node, id=path or "the root") for path, node in nodes_of(schema())]


def test_the_checked_in_definition_is_the_one_that_the_models_make() -> None:
    assert (CRDS / "ciliumhybrids.ciliumhybrid.io.yaml").read_text() == crd_yaml()


def test_the_definition_survives_yaml() -> None:
    assert yaml.safe_load(crd_yaml()) == custom_resource_definition()


def test_the_resource_is_one_for_the_cluster_with_a_status_of_its_own() -> None:
    spec = custom_resource_definition()["spec"]

    assert spec["scope"] == "Cluster"
    assert spec["names"]["shortNames"] == ["chy"]
    assert spec["versions"][0]["subresources"] == {"status": {}}


@pytest.mark.parametrize("node", NODES)
def test_the_schema_is_structural(node: dict[str, Any]) -> None:
    assert node["type"] in {"object", "array", "string", "integer", "boolean"}
    assert not {"$ref", "$defs", "anyOf", "allOf", "title", "default", "propertyNames"} & node.keys()
    # A map of things of one form; beside named fields it is refused, and as a yes or no it says nothing.
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
    "node", [pytest.param(node, id=path or "the root") for path, node in nodes_of(schema()) if node["type"] == "object"]
)
def test_a_rule_on_a_map_points_at_the_field_that_it_is_about(node: dict[str, Any]) -> None:
    assert [rule["message"] for rule in node.get(RULES, []) if "fieldPath" not in rule] == []


def test_no_rule_holds_a_version_against_the_one_before() -> None:
    """A change of version that is blocked must be revertible, so only the operator judges it, by what runs."""
    rules = [rule["rule"] for _, node in nodes_of(schema()) for rule in node.get(RULES, [])]

    assert any("oldSelf" in rule for rule in rules)
    assert [rule for rule in rules if "oldSelf" in rule and "version" in rule.lower()] == []
    assert RULES not in schema()["properties"]["spec"]["properties"]["version"]


def test_a_newer_operator_may_write_newer_words_into_the_status() -> None:
    status = schema()["properties"]["status"]

    assert not [path for path, node in nodes_of(status) if "enum" in node]


def test_values_take_any_field() -> None:
    values = schema()["properties"]["spec"]["properties"]["values"]

    assert values["x-kubernetes-preserve-unknown-fields"] is True


def test_conditions_are_merged_by_their_type() -> None:
    conditions = schema()["properties"]["status"]["properties"]["conditions"]

    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_only_version_and_ipam_must_be_written() -> None:
    spec = schema()["properties"]["spec"]

    assert set(spec["required"]) == {"version", "ipam"}
    assert set(spec["properties"]["ipam"]["required"]) == {"podCIDRs", "maskSize"}


def test_printer_columns_read_what_the_status_holds() -> None:
    paths = {path for path, _ in nodes_of(schema())}
    columns = custom_resource_definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    plain = [column["jsonPath"] for column in columns if "[" not in column["jsonPath"]]

    assert set(plain) - paths == {".metadata.creationTimestamp"}
    assert [column["name"] for column in columns if column["priority"] == 0] == [
        "Version",
        "Target",
        "Nodes",
        "Ready",
        "Reason",
        "Age",
    ]
