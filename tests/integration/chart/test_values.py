"""How values change the configuration, and which values the chart refuses."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chart.package import versions
from chart.rendering import AWS_VALUES, Rendered, RenderError, read, render

Render = Callable[[str], Rendered]
every_version = pytest.mark.parametrize("version", versions())
every_minor = pytest.mark.parametrize("version", ["1.17.15-1", "1.18.8-1", "1.19.4-1", "1.20.0-0"])

# Generating keys for Hubble takes most of the time of a render.
QUICK_VALUES = AWS_VALUES | {"hubble": {"enabled": False}}


def has(values: dict[str, Any], path: str) -> bool:
    for key in path.split("."):
        if key not in values:
            return False
        values = values[key]
    return True


@every_version
def test_the_configuration_has_the_values(aws: Render, version: str) -> None:
    expected = {
        "ipam": "cluster-pool",
        "cluster-pool-ipv4-cidr": "10.85.0.0/16",
        "cluster-pool-ipv4-mask-size": "25",
        "kube-proxy-replacement": "false",
        "routing-mode": "tunnel",
        "tunnel-protocol": "vxlan",
        "enable-service-topology": "true",
        "unmanaged-pod-watcher-interval": "0",
        "external-envoy-proxy": "false",
        "agent-not-ready-taint-key": "node.cilium.io/agent-not-ready",
    }

    assert expected.items() <= aws(version).config.items()
    assert all(isinstance(value, str) for value in aws(version).config.values())


def test_several_pod_cidrs_are_one_string(helm: Path, charts: dict[str, Path]) -> None:
    pools = {"clusterPoolIPv4PodCIDRList": ["10.85.0.0/16", "10.86.0.0/16"], "clusterPoolIPv4MaskSize": 25}
    rendered = render(helm, charts["1.18.8-1"], QUICK_VALUES | {"ipam": {"operator": pools}})

    assert rendered.config["cluster-pool-ipv4-cidr"] == "10.85.0.0/16 10.86.0.0/16"


@pytest.mark.parametrize(
    ("key", "per_minor"),
    [
        ("enable-l2-neigh-discovery", ["true", "false", "false", "false"]),
        ("enable-host-port", ["false", None, None, None]),
        ("enable-node-port", ["false", "false", None, None]),
        ("mesh-auth-enabled", ["true", "true", "false", "false"]),
        ("enable-drift-checker", [None, "true", "true", "true"]),
        ("envoy-xds-mode", [None, None, None, "ads"]),
    ],
)
def test_a_minor_changes_the_configuration(aws: Render, key: str, per_minor: list[str | None]) -> None:
    minors = ["1.17.15-1", "1.18.8-1", "1.19.4-1", "1.20.0-0"]

    assert [aws(version).config.get(key) for version in minors] == per_minor


@pytest.mark.parametrize(
    ("compatibility", "changed"),
    [
        pytest.param("1.18", set(), id="the chart's own minor"),
        pytest.param("1.17", set(), id="a minor that changed nothing"),
        pytest.param("1.16", {"enable-policy-secrets-sync"}, id="before policy secrets were synchronized"),
        pytest.param(
            "1.17.9-0",
            {
                "bpf-ct-global-any-max",
                "bpf-ct-global-tcp-max",
                "bpf-map-dynamic-size-ratio",
                "dnsproxy-enable-transparent-mode",
                "enable-policy-secrets-sync",
                "operator-api-serve-addr",
            },
            id="an AWS version, which is older than everything",
        ),
    ],
)
def test_upgrade_compatibility_keeps_old_behaviour(
    helm: Path, charts: dict[str, Path], aws: Render, compatibility: str, changed: set[str]
) -> None:
    rendered = render(helm, charts["1.18.8-1"], AWS_VALUES | {"upgradeCompatibility": compatibility})

    assert {key for key, _ in rendered.config.items() ^ aws("1.18.8-1").config.items()} == changed


@every_minor
def test_extra_config_is_appended_even_if_it_overrides_a_key(helm: Path, charts: dict[str, Path], version: str) -> None:
    rendered = render(helm, charts[version], QUICK_VALUES | {"extraConfig": {"ipam": "kubernetes"}})

    assert re.findall(r"^  ipam: (.*)$", rendered.text, re.MULTILINE) == ['"cluster-pool"', "kubernetes"]
    assert rendered.config["ipam"] == "kubernetes"


@every_minor
def test_unknown_values_are_ignored(helm: Path, charts: dict[str, Path], aws: Render, version: str) -> None:
    rendered = render(helm, charts[version], AWS_VALUES | {"foo": {"bar": 1}, "nodePorts": {"enabled": True}})

    assert rendered.config == aws(version).config
    assert rendered.agent == aws(version).agent


@pytest.mark.parametrize(
    ("version", "values", "at"),
    [
        pytest.param("1.17.15-1", {"upgradeCompatibility": 1.16}, "/upgradeCompatibility", id="a number"),
        pytest.param("1.20.0-0", {"upgradeCompatibility": 1.2}, "/upgradeCompatibility", id="1.20 unquoted"),
        pytest.param(
            "1.18.8-1",
            {"ipam": {"operator": {"clusterPoolIPv4MaskSize": "25"}}},
            "/ipam/operator/clusterPoolIPv4MaskSize",
            id="a quoted mask size",
        ),
        pytest.param(
            "1.17.15-1",
            {"bgpControlPlane": True},
            "/bgpControlPlane",
            id="a boolean for BGP, as in older AWS documentation",
        ),
        pytest.param("1.18.8-1", {"kubeProxyReplacement": 1}, "/kubeProxyReplacement", id="typed since 1.18"),
        pytest.param(
            "1.19.4-1",
            {"loadBalancer": {"serviceTopology": "true"}},
            "/loadBalancer/serviceTopology",
            id="typed since 1.19",
        ),
        pytest.param("1.17.15-1", {"agent": "false"}, "/agent", id="a quoted boolean"),
    ],
)
def test_a_value_of_the_wrong_type_is_rejected(
    helm: Path, charts: dict[str, Path], version: str, values: dict[str, Any], at: str
) -> None:
    with pytest.raises(RenderError, match=f"at '{at}'"):
        render(helm, charts[version], QUICK_VALUES | values)


def test_service_topology_has_no_type_before_1_19(helm: Path, charts: dict[str, Path]) -> None:
    values = QUICK_VALUES | {"loadBalancer": {"serviceTopology": "true"}}

    assert render(helm, charts["1.18.8-1"], values).config["enable-service-topology"] == "true"


@every_minor
@pytest.mark.parametrize("value", ["strict", "True"])
def test_kube_proxy_replacement_is_true_or_false(helm: Path, charts: dict[str, Path], version: str, value: str) -> None:
    with pytest.raises(RenderError, match="kubeProxyReplacement"):
        render(helm, charts[version], QUICK_VALUES | {"kubeProxyReplacement": value})


@pytest.mark.parametrize("value", [True, "true"])
def test_kube_proxy_replacement_can_be_a_string_or_a_boolean(helm: Path, charts: dict[str, Path], value: Any) -> None:
    for version in ("1.17.15-1", "1.18.8-1"):
        rendered = render(helm, charts[version], QUICK_VALUES | {"kubeProxyReplacement": value})
        assert rendered.config["kube-proxy-replacement"] == "true"


@pytest.mark.parametrize(
    ("version", "values", "message"),
    [
        ("1.17.15-1", {"tunnel": "vxlan"}, "tunnelProtocol"),
        ("1.17.15-1", {"cluster": {"id": 3}}, "cluster.name"),
        ("1.17.15-1", {"cluster": {"name": "No_Good"}}, "cluster.name"),
        ("1.17.15-1", {"l7Proxy": False, "ingressController": {"enabled": True}}, "l7Proxy"),
        ("1.18.8-1", {"l7Proxy": False, "gatewayAPI": {"enabled": True}}, "l7Proxy"),
        ("1.18.8-1", {"hubble": {"ui": {"enabled": True}}}, "hubble.relay"),
        ("1.18.8-1", {"enableCiliumEndpointSlice": True}, "enableCiliumEndpointSlice"),
        ("1.18.8-1", {"k8sServiceHost": "eks", "k8sServiceHostRef": {"name": "of-eks"}}, "k8sServiceHostRef"),
    ],
)
def test_the_templates_refuse_invalid_combinations(
    helm: Path, charts: dict[str, Path], version: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(RenderError, match=message):
        render(helm, charts[version], QUICK_VALUES | values)


@pytest.mark.parametrize(
    ("path", "minors"),
    [
        ("hostPort.enabled", [17]),
        ("enableRuntimeDeviceDetection", [17]),
        ("externalWorkloads.enabled", [17]),
        ("nodePort.enabled", [17, 18]),
        ("preflight.tofqdnsPreCache", [17, 18, 19]),
        ("kubeProxyReplacement", [18, 19, 20]),
        ("loadBalancer.serviceTopology", [19, 20]),
        ("bgpControlPlane.enabled", [17, 18, 19, 20]),
    ],
)
def test_the_keys_of_each_minor(charts: dict[str, Path], path: str, minors: list[int]) -> None:
    known = {
        int(version.split(".")[1]) for version, archive in charts.items() if has(read(archive, "values.yaml"), path)
    }

    assert known == set(minors)
