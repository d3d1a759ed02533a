"""The objects of each release, with their names and labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.package import versions
from chart.rendering import AWS_VALUES, Rendered, render

EXPECTED: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("expected.yaml").read_text())
PART_OF = "app.kubernetes.io/part-of"
CHART = "helm.sh/chart"

Render = Callable[[str], Rendered]
every_version = pytest.mark.parametrize("version", versions())


def minor(version: str) -> int:
    return int(version.split(".")[1])


@every_version
def test_the_main_release_has_exactly_the_objects_of_its_minor(aws: Render, version: str) -> None:
    main = EXPECTED["main"]
    labelled = main["labelled"] + (main["labelledFrom119"] if minor(version) >= 19 else [])

    assert set(aws(version).objects) == {*labelled, *main["unlabelled"]}


@every_version
def test_the_preflight_has_exactly_five_objects(preflight: Render, version: str) -> None:
    expected = EXPECTED["preflight"]

    assert set(preflight(version).objects) == {*expected["labelled"], *expected["unlabelled"]}


@every_version
def test_the_preflight_shares_no_object_with_the_main_release(aws: Render, preflight: Render, version: str) -> None:
    assert not set(aws(version).objects) & set(preflight(version).objects)


@every_version
@pytest.mark.parametrize("release", ["main", "preflight"])
def test_an_object_has_all_labels_of_cilium_or_none(request: pytest.FixtureRequest, version: str, release: str) -> None:
    rendered: Rendered = request.getfixturevalue("aws" if release == "main" else "preflight")(version)
    names = EXPECTED[release]["labelled"] + EXPECTED[release].get("labelledFrom119", [])
    expected = {PART_OF: "cilium"} | ({CHART: f"cilium-{version}"} if minor(version) >= 20 else {})

    found = {
        name: {label: value for label, value in labels.items() if label in {PART_OF, CHART}}
        for name, tree in rendered.objects.items()
        if (labels := tree["metadata"].get("labels", {}))
    }

    assert {name: labels for name, labels in found.items() if labels} == {
        name: expected for name in names if name in rendered.objects
    }


@every_version
def test_every_workload_selects_its_own_pods(aws: Render, preflight: Render, version: str) -> None:
    workloads = aws(version).workloads | preflight(version).workloads
    chart = {CHART: f"cilium-{version}"} if minor(version) >= 20 else {}

    found = {
        name: (tree["spec"]["selector"]["matchLabels"], tree["spec"]["template"]["metadata"]["labels"])
        for name, tree in workloads.items()
    }

    assert found == {
        name: (pods["selector"], pods["selector"] | pods["labels"] | chart) for name, pods in EXPECTED["pods"].items()
    }


@pytest.mark.parametrize(
    ("values", "removed"),
    [
        pytest.param(
            {"hubble": {"enabled": False}},
            {"Service hubble-peer", "Secret cilium-ca", "Secret hubble-server-certs"},
            id="Hubble disabled",
        ),
        pytest.param(
            {"tls": {"secretsNamespace": {"create": False}}},
            {"Namespace cilium-secrets"},
            id="an existing namespace for Secrets",
        ),
        pytest.param(
            {"upgradeCompatibility": "1.16"},
            {
                "Role cilium-operator-tlsinterception-secrets",
                "RoleBinding cilium-operator-tlsinterception-secrets",
            },
            id="first installed as 1.16",
        ),
        pytest.param({"upgradeCompatibility": "1.17"}, set(), id="first installed as 1.17"),
    ],
)
def test_a_value_removes_objects(
    helm: Path, charts: dict[str, Path], aws: Render, values: dict[str, Any], removed: set[str]
) -> None:
    rendered = render(helm, charts["1.18.8-1"], AWS_VALUES | values)

    missing = set(aws("1.18.8-1").objects) - set(rendered.objects)

    assert {f"{name.split()[0]} {name.rpartition('/')[2].split()[-1]}" for name in missing} == removed


@pytest.mark.parametrize(
    ("values", "added"),
    [
        pytest.param(
            {"bgpControlPlane": {"enabled": True}},
            {
                "Role kube-system/cilium-bgp-control-plane-secrets",
                "RoleBinding kube-system/cilium-bgp-control-plane-secrets",
            },
            id="BGP",
        ),
        pytest.param(
            {"envoy": {"enabled": True}},
            {
                "ConfigMap kube-system/cilium-envoy-config",
                "DaemonSet kube-system/cilium-envoy",
                "Service kube-system/cilium-envoy",
                "ServiceAccount kube-system/cilium-envoy",
            },
            id="Envoy",
        ),
        pytest.param(
            {"ingressController": {"enabled": True}},
            {
                "Endpoints kube-system/cilium-ingress",
                "IngressClass cilium",
                "Role cilium-secrets/cilium-ingress-secrets",
                "Role cilium-secrets/cilium-operator-ingress-secrets",
                "RoleBinding cilium-secrets/cilium-operator-ingress-secrets",
                "RoleBinding cilium-secrets/cilium-secrets",
                "Service kube-system/cilium-ingress",
            },
            id="Ingress",
        ),
        pytest.param(
            {"gatewayAPI": {"enabled": True}},
            {
                "Role cilium-secrets/cilium-gateway-secrets",
                "Role cilium-secrets/cilium-operator-gateway-secrets",
                "RoleBinding cilium-secrets/cilium-gateway-secrets",
                "RoleBinding cilium-secrets/cilium-operator-gateway-secrets",
            },
            id="Gateway API without its CRDs",
        ),
        pytest.param(
            {"hubble": {"relay": {"enabled": True}}},
            {
                "ConfigMap kube-system/hubble-relay-config",
                "Deployment kube-system/hubble-relay",
                "Secret kube-system/hubble-relay-client-certs",
                "Service kube-system/hubble-relay",
                "ServiceAccount kube-system/hubble-relay",
            },
            id="Hubble Relay",
        ),
        pytest.param(
            {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}}},
            {
                "ClusterRole hubble-ui",
                "ClusterRoleBinding hubble-ui",
                "ConfigMap kube-system/hubble-relay-config",
                "ConfigMap kube-system/hubble-ui-nginx",
                "Deployment kube-system/hubble-relay",
                "Deployment kube-system/hubble-ui",
                "Secret kube-system/hubble-relay-client-certs",
                "Service kube-system/hubble-relay",
                "Service kube-system/hubble-ui",
                "ServiceAccount kube-system/hubble-relay",
                "ServiceAccount kube-system/hubble-ui",
            },
            id="Hubble Relay and UI",
        ),
    ],
)
def test_a_value_adds_objects(
    helm: Path, charts: dict[str, Path], aws: Render, values: dict[str, Any], added: set[str]
) -> None:
    rendered = render(helm, charts["1.18.8-1"], AWS_VALUES | values)

    assert set(rendered.objects) - set(aws("1.18.8-1").objects) == added


def test_a_render_generates_new_certificates_with_the_given_ca(helm: Path, charts: dict[str, Path]) -> None:
    def secrets(values: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        objects = render(helm, charts["1.18.8-1"], AWS_VALUES | values).objects
        ca, leaf = (objects[f"Secret kube-system/{name}"]["data"] for name in ("cilium-ca", "hubble-server-certs"))
        return ca, leaf

    ca, leaf = secrets({})
    given = {"cert": ca["ca.crt"], "key": ca["ca.key"]}
    same_ca, other_leaf = secrets({"tls": {"ca": given}})

    assert same_ca["ca.crt"] == leaf["ca.crt"] == other_leaf["ca.crt"] == ca["ca.crt"]
    assert leaf["tls.crt"] != other_leaf["tls.crt"]
