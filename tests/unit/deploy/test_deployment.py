"""The Deployment of the operator and the labels in deploy/."""

import tomllib
from typing import Any

import pytest
import yaml

from image.container import deployed, pod_fields
from testbed.operator import ROOT

DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
KUSTOMIZATIONS = ("definition", "operator", "monitoring")


def _documents(path: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((DEPLOY / path).read_text()) if document]


def test_the_image_test_knows_every_field_that_the_environment_refers_to() -> None:
    (container,) = deployed()["containers"]
    references = {one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"] if "valueFrom" in one}

    assert references <= pod_fields("operator", "node").keys()


def test_the_pods_meet_the_restricted_level_except_for_the_host_network() -> None:
    pod = deployed()
    (container,) = pod["containers"]

    assert pod["hostNetwork"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert all("emptyDir" in volume for volume in pod["volumes"])


def test_the_namespace_allows_the_host_network() -> None:
    (namespace,) = _documents("definition/namespace.yaml")

    assert {
        namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")
    } == {"privileged"}


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_every_object_gets_the_recommended_labels(folder: str) -> None:
    (kustomization,) = _documents(f"{folder}/kustomization.yaml")
    (labels,) = kustomization["labels"]

    assert {key.removeprefix("app.kubernetes.io/"): value for key, value in labels["pairs"].items()} == {
        "name": "cilium-hybrid-operator",
        "component": {"definition": "api"}.get(folder, folder),
        "part-of": "cilium-hybrid-operator",
        "managed-by": "kustomize",
        "version": VERSION,
    }


def test_the_image_has_the_version_of_the_project() -> None:
    (container,) = deployed()["containers"]

    assert container["image"] == f"cilium-hybrid-operator:{VERSION}"


def test_the_roles_for_users_are_not_aggregated_to_others() -> None:
    roles = _documents("definition/user-roles.yaml")

    assert [role["metadata"]["name"] for role in roles] == ["ciliumhybrid-viewer", "ciliumhybrid-editor"]
    assert not [role for role in roles if "labels" in role["metadata"]]
