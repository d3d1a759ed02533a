"""Compares the test chart with Cilium's chart of the same minor, if CILIUM_CHARTS names a folder that has it."""

import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chart.rendering import AWS_VALUES, HYBRID_NODES, PREFLIGHT_VALUES, Rendered, read, render

pytestmark = pytest.mark.skipif(
    "CILIUM_CHARTS" not in os.environ,
    reason="CILIUM_CHARTS names no folder with cilium-<version>.tgz",
)

Tree = dict[str, Any]
Grant = tuple[str, str, str, str]

# The version of Cilium's chart, and the version of the test chart that is compared with it.
PAIRS = {"1.17.17": "1.17.15-1", "1.18.12": "1.18.8-1", "1.19.6": "1.19.4-1", "1.20.0": "1.20.0-0"}

CHECKSUM = "cilium.io/cilium-configmap-checksum"
GATEWAY = "gateway.networking.k8s.io/v1/GatewayClass"

# Every feature that changes what is rendered.
FEATURES: Tree = AWS_VALUES | {
    "operator": AWS_VALUES["operator"] | {"rollOutPods": True, "extraEnv": [{"name": "A", "value": "1"}]},
    "bgpControlPlane": {"enabled": True},
    "debug": {"enabled": True},
    "cni": {"exclusive": False, "uninstall": True},
    "envoy": {"enabled": True},
    "extraArgs": ["--extra"],
    "extraConfig": {"extra": "1"},
    "extraContainers": [{"name": "beside", "image": "beside"}],
    "extraEnv": [{"name": "A", "value": "1"}],
    "extraHostPathMounts": [{"name": "host", "mountPath": "/host/x", "hostPath": "/x", "readOnly": True}],
    "extraInitContainers": [{"name": "before", "image": "before"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "gatewayAPI": {"enabled": True},
    "imagePullSecrets": [{"name": "mirror"}],
    "ingressController": {"enabled": True, "service": {"annotations": {"a": "1"}}},
    "k8sServiceHost": "eks",
    "k8sServicePort": 443,
    "kubeProxyReplacement": "true",
    "podAnnotations": {"a": "1"},
    "podLabels": {"a": "1"},
    "rollOutCiliumPods": True,
    "upgradeCompatibility": "1.16",
    "vtep": {"enabled": True, "endpoint": "10.0.0.1"},
}
HUBBLE: Tree = AWS_VALUES | {
    "hubble": {"relay": {"enabled": True, "affinity": HYBRID_NODES}, "ui": {"enabled": True, "affinity": HYBRID_NODES}}
}
RELEASES: dict[str, Tree] = {
    "aws": AWS_VALUES,
    "features": FEATURES,
    "hubble": HUBBLE,
    "preflight": PREFLIGHT_VALUES,
}

# Keys of cilium-config with another value in the test chart, which does not implement this feature.
CONFIG_DIFFERENCES = {("features", "1.20.0"): {"bpf-lb-algorithm-annotation"}}


@dataclass(frozen=True, slots=True)
class Charts:
    """Cilium's chart and the test chart of one minor."""

    version: str
    real: Path
    own: Path


@pytest.fixture(scope="session", params=PAIRS)
def pair(request: pytest.FixtureRequest, charts: dict[str, Path]) -> Charts:
    archive = Path(os.environ["CILIUM_CHARTS"], f"cilium-{request.param}.tgz")
    if not archive.is_file():
        pytest.skip(f"the folder named by CILIUM_CHARTS has no {archive.name}")
    return Charts(request.param, archive, charts[PAIRS[request.param]])


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def both(helm: Path, pair: Charts, release: str) -> tuple[Rendered, Rendered]:
    """Return the same values rendered by Cilium's chart and by the test chart."""
    return _both(helm, pair, release)


@cache
def _both(helm: Path, pair: Charts, release: str) -> tuple[Rendered, Rendered]:
    values = RELEASES[release]
    return render(helm, pair.real, values, apis=[GATEWAY]), render(helm, pair.own, values, apis=[GATEWAY])


def test_the_objects_and_their_labels_are_the_same(both: tuple[Rendered, Rendered]) -> None:
    real, own = ({name: labels(tree) for name, tree in side.objects.items()} for side in both)

    assert own == real


def test_the_workloads_have_the_same_shape(both: tuple[Rendered, Rendered]) -> None:
    # The arguments and configuration of Envoy do not matter.
    real, own = ({name: shape(tree) for name, tree in side.workloads.items() if "envoy" not in name} for side in both)

    assert own == real


def test_the_same_permissions_are_granted(both: tuple[Rendered, Rendered]) -> None:
    # The API server refuses grants that the operator does not have; a missing permission would hide this.
    real, own = ({name: set(grants(tree)) for name, tree in side.objects.items()} for side in both)

    assert own == real


def test_the_same_service_accounts_are_bound(both: tuple[Rendered, Rendered]) -> None:
    real, own = (
        {name: (tree["roleRef"], tree["subjects"]) for name, tree in side.objects.items() if "roleRef" in tree}
        for side in both
    )

    assert own == real


@pytest.mark.parametrize("release", ["aws", "features"], indirect=True)
def test_the_configuration_is_the_same(both: tuple[Rendered, Rendered], pair: Charts, release: str) -> None:
    real, own = (side.config for side in both)

    assert set(own) == set(real)
    different = {key for key in real if own[key] != real[key]}
    assert different == CONFIG_DIFFERENCES.get((release, pair.version), set())


def test_every_value_exists_in_ciliums_chart_with_the_same_type(pair: Charts) -> None:
    real, own = (read(archive, "values.schema.json") for archive in (pair.real, pair.own))

    assert list(schema_differences(own, real)) == []


def test_the_defaults_are_those_of_ciliums_chart(pair: Charts) -> None:
    # Images are AWS builds here, without a digest.
    real, own = (dict(leaves(read(archive, "values.yaml"))) for archive in (pair.real, pair.own))

    assert {key: value for key, value in own.items() if key in real and "image" not in key} == {
        key: real[key] for key in own if key in real and "image" not in key
    }


def labels(tree: Tree) -> Tree:
    """Return the labels without the version, which differs."""
    found = tree["metadata"].get("labels") or {}
    return {label: value if label != "helm.sh/chart" else "cilium" for label, value in found.items()}


def shape(workload: Tree) -> Any:
    """Return a workload without images and without the commands of init containers."""
    tree = deepcopy(workload)
    tree["metadata"]["labels"] = labels(tree)
    template = tree["spec"]["template"]
    template["metadata"]["labels"] = labels(template)
    annotations = template["metadata"].get("annotations") or {}
    if CHECKSUM in annotations:
        annotations[CHECKSUM] = "checksum"
    spec = template["spec"]
    init_containers = spec.get("initContainers", [])
    for container in spec["containers"] + init_containers:
        del container["image"]
        # It removes iptables rules of the AWS VPC CNI.
        container.get("lifecycle", {}).pop("postStart", None)
        if container in init_containers or "pre-flight" in workload["metadata"]["name"]:
            container.pop("command", None)
            container.pop("args", None)
    for volume in spec.get("volumes", []):
        if volume["name"] == "clustermesh-secrets":
            del volume["projected"]["sources"]
    return ordered(tree)


def ordered(tree: Any) -> Any:
    """Drop nulls, and sort lists of named items, whose order does not matter."""
    if isinstance(tree, dict):
        return {key: ordered(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, list):
        named = all(isinstance(item, dict) and "name" in item for item in tree)
        items = [ordered(item) for item in tree]
        return sorted(items, key=lambda item: (item["name"], str(item))) if named else items
    return tree


def grants(role: Tree) -> Iterator[Grant]:
    """Yield every permission of a role: group, resource, name, verb."""
    for rule in role.get("rules") or []:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    for verb in rule["verbs"]:
                        yield group, resource, name, verb


def schema_differences(own: Tree, real: Tree, path: str = "") -> Iterator[str]:
    """Yield where one schema is not contained in the other."""
    kinds = [tree["type"] if isinstance(tree.get("type"), list) else [tree.get("type")] for tree in (own, real)]
    if set(kinds[0]) != set(kinds[1]):
        yield f"{path} is {kinds[0]}, in Cilium's chart {kinds[1]}"
    for key, tree in own.get("properties", {}).items():
        if key in real.get("properties", {}):
            yield from schema_differences(tree, real["properties"][key], f"{path}.{key}")
        else:
            yield f"{path}.{key} does not exist in Cilium's chart"


def leaves(values: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value
