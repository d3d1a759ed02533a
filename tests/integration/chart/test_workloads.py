"""The pods of a release: their placement, images and update strategy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chart.package import versions
from chart.rendering import AWS_VALUES, HYBRID_NODES, PREFLIGHT_VALUES, Rendered, render

CHECKSUM = "cilium.io/cilium-configmap-checksum"
EXISTS = {"operator": "Exists"}
AGENT_NOT_READY = {"key": "node.cilium.io/agent-not-ready", "operator": "Exists"}

Render = Callable[[str], Rendered]
every_version = pytest.mark.parametrize("version", versions())


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def images(workload: dict[str, Any]) -> set[str]:
    spec = pod(workload)
    return {container["image"] for container in spec["containers"] + spec.get("initContainers", [])}


def anti_affinity_terms(labels: dict[str, str]) -> list[dict[str, Any]]:
    return [{"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}]


@every_version
def test_agents_and_operator_run_on_hybrid_nodes_one_per_node(aws: Render, version: str) -> None:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    rendered = aws(version)

    assert pod(rendered.agent)["affinity"] == HYBRID_NODES | {
        "podAntiAffinity": {required: anti_affinity_terms({"k8s-app": "cilium"})}
    }
    assert pod(rendered.operator)["affinity"] == HYBRID_NODES | {
        "podAntiAffinity": {required: anti_affinity_terms({"io.cilium/app": "operator"})}
    }


@every_version
def test_the_preflight_runs_next_to_agents_and_its_selector_is_merged(preflight: Render, version: str) -> None:
    next_to_agents = {
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": anti_affinity_terms({"k8s-app": "cilium"})}
    }

    for workload in preflight(version).workloads.values():
        assert pod(workload)["affinity"] == next_to_agents
        assert pod(workload)["nodeSelector"] == {
            "kubernetes.io/os": "linux",
            "eks.amazonaws.com/compute-type": "hybrid",
        }
        assert pod(workload)["tolerations"] == [EXISTS]


@every_version
def test_every_workload_is_on_the_host_network_of_linux_nodes(aws: Render, preflight: Render, version: str) -> None:
    for workload in (*aws(version).workloads.values(), *preflight(version).workloads.values()):
        assert pod(workload)["hostNetwork"]
        assert pod(workload)["nodeSelector"]["kubernetes.io/os"] == "linux"


@every_version
def test_the_update_strategies_are_those_of_cilium(aws: Render, version: str) -> None:
    agent, operator = aws(version).agent["spec"], aws(version).operator["spec"]

    assert agent["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    assert operator["replicas"] == 2
    assert operator["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "50%"},
    }


def test_a_single_operator_is_stopped_before_its_replacement_starts(helm: Path, charts: dict[str, Path]) -> None:
    operator = render(helm, charts["1.18.8-1"], {"operator": {"replicas": 1}}).operator

    assert operator["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == "100%"


@pytest.mark.parametrize(
    ("version", "values", "expected"),
    [
        pytest.param("1.17.15-1", {}, [EXISTS], id="1.17 tolerates everything"),
        pytest.param(
            "1.18.3-0",
            {},
            [
                {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"},
                {"key": "node-role.kubernetes.io/master", "operator": "Exists"},
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists"},
                {"key": "node.cloudprovider.kubernetes.io/uninitialized", "operator": "Exists"},
                AGENT_NOT_READY,
            ],
            id="1.18 tolerates only the taints of a new node",
        ),
        pytest.param(
            "1.18.3-0",
            {"operator": {"tolerations": [EXISTS]}},
            [EXISTS, AGENT_NOT_READY],
            id="a configured list replaces the default",
        ),
    ],
)
def test_the_tolerations_of_the_operator(
    helm: Path, charts: dict[str, Path], version: str, values: dict[str, Any], expected: list[Any]
) -> None:
    assert pod(render(helm, charts[version], values).operator)["tolerations"] == expected


@pytest.mark.parametrize(("version", "failures"), [("1.17.15-1", 105), ("1.18.8-1", 300), ("1.20.0-0", 300)])
def test_the_startup_probe_of_each_minor(aws: Render, version: str, failures: int) -> None:
    probe = pod(aws(version).agent)["containers"][0]["startupProbe"]

    assert (probe["failureThreshold"], probe["periodSeconds"]) == (failures, 2)


def test_pods_are_restarted_on_a_configuration_change_only_if_configured(
    helm: Path, charts: dict[str, Path], aws: Render
) -> None:
    rolls = AWS_VALUES | {"rollOutCiliumPods": True, "operator": AWS_VALUES["operator"] | {"rollOutPods": True}}
    first = render(helm, charts["1.18.8-1"], rolls)
    second = render(helm, charts["1.18.8-1"], rolls | {"debug": {"enabled": True}})

    def checksums(rendered: Rendered) -> set[str | None]:
        workloads = (rendered.agent, rendered.operator)
        return {workload["spec"]["template"]["metadata"]["annotations"].get(CHECKSUM) for workload in workloads}

    assert checksums(aws("1.18.8-1")) == {None}
    assert len(checksums(first)) == len(checksums(second)) == 1
    assert checksums(first) != checksums(second)


@pytest.mark.parametrize("version", ["1.17.15-1", "1.18.8-1", "1.19.4-1", "1.20.0-0"])
def test_agent_and_operator_get_the_address_of_the_api_server(
    helm: Path, charts: dict[str, Path], version: str
) -> None:
    values = AWS_VALUES | {"kubeProxyReplacement": "true", "k8sServiceHost": "eks", "k8sServicePort": 443}
    rendered = render(helm, charts[version], values)

    for workload in (rendered.agent, rendered.operator):
        env = {item["name"]: item.get("value") for item in pod(workload)["containers"][0]["env"]}
        assert env["KUBERNETES_SERVICE_HOST"] == "eks"
        assert env["KUBERNETES_SERVICE_PORT"] == "443"


@every_version
def test_images_are_aws_builds(aws: Render, preflight: Render, version: str) -> None:
    registry = "public.ecr.aws/eks/cilium"
    tags = {"1.18.9-1": "v1.18.9-1-broken"}
    preflight_tags = {"1.18.10-1": "v1.18.10-1-broken"}

    assert images(aws(version).agent) == {f"{registry}/cilium:{tags.get(version, f'v{version}')}"}
    assert images(aws(version).operator) == {f"{registry}/operator-generic:v{version}"}
    for workload in preflight(version).workloads.values():
        assert images(workload) == {f"{registry}/cilium:{preflight_tags.get(version, f'v{version}')}"}


def test_the_preflight_pulls_the_envoy_image_from_1_18_on(helm: Path, charts: dict[str, Path]) -> None:
    def containers(version: str) -> list[str]:
        rendered = render(helm, charts[version], PREFLIGHT_VALUES | {"envoy": {"enabled": True}})
        daemon_set = rendered.objects["DaemonSet kube-system/cilium-pre-flight-check"]
        return [container["name"] for container in pod(daemon_set)["containers"]]

    assert containers("1.17.15-1") == ["cilium-pre-flight-check"]
    assert containers("1.18.8-1") == ["cilium-pre-flight-check", "cilium-pre-flight-envoy"]
