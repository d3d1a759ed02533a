"""A preflight on nodes, started and evaluated with the operator's own permissions."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import DIGEST, NOW, OTHER_DIGEST, a_spec
from chart.package import package
from cilium_hybrid.adapters.helm.charts import HelmCharts
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.preflight import HelmPreflights
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.api.status import PreflightResult
from cilium_hybrid.plan.observation import Observation, PreflightObservation, Revision
from cilium_hybrid.plan.upgrade.preflight import PREFLIGHT, PreflightEvaluation, evaluate_preflight, preflight_values
from cilium_hybrid.ports import FetchedChart
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE
from contract.kube import with_watches
from testbed import binaries
from testbed.cluster import Cluster
from testbed.nodes import hybrid_name
from testbed.operator import ACCOUNT, NAMESPACE, install
from testbed.processes import wait_until

RUNS, GOOD, BAD = "1.17.15-1", "1.18.8-1", "1.18.10-1"
HYBRID = {hybrid_name(number) for number in (1, 2, 3)}
NO_AGENT = "mi-no-agent"
EXPRESSIONS = [
    {"key": HYBRID_LABEL, "operator": "In", "values": [HYBRID_VALUE]},
    {"key": NO_AGENT, "operator": "DoesNotExist"},
]
AGENTS = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": EXPRESSIONS}]}
    }
}
TIMEOUT = 600.0
LIMIT = 60.0


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("charts")
    return {version: package(version, directory) for version in (RUNS, GOOD, BAD)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> Iterator[Cluster]:
    """Three hybrid nodes with Cilium agents, two cloud nodes without; the operator's RBAC, and no operator."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=3, cloud=2) as cluster:
        install(cluster)
        # Agents run on the hybrid nodes except for those that a test adds.
        pool = {"clusterPoolIPv4MaskSize": 25, "clusterPoolIPv4PodCIDRList": ["10.85.0.0/16"]}
        values = {"affinity": AGENTS, "operator": {"affinity": AGENTS}, "ipam": {"operator": pool}}
        helm_install = ("install", "cilium", archives[RUNS], "-n", "kube-system", "--values", "-")
        cluster.helm(*helm_install, stdin=json.dumps(values))
        wait_until(lambda: cluster.ready_nodes() == 5, timeout=LIMIT, what="every node is Ready")
        yield cluster


class Preflight:
    """Starts and ends a preflight as the operator does."""

    def __init__(self, kubeconfig: Path, directory: Path, archives: dict[str, Path]) -> None:
        self._kubeconfig, self._directory, self._archives = kubeconfig, directory, archives

    def start(self, version: str, until: Callable[[Observation], Any]) -> Observation:
        """Start it, and return the first observation that meets the condition."""
        changed = asyncio.Event()

        async def use(client: KubeClient, cluster: KubeCluster) -> Observation:
            chart = FetchedChart(self._archives[version], version, DIGEST)
            expected = Revision(1, "deployed", NOW, True, version, DIGEST, OTHER_DIGEST)
            values = preflight_values(a_spec())
            rendered = await HelmCharts(self._command(), self._directory).render(chart, values, PREFLIGHT)
            await self._preflights(client, cluster).start(chart, values, rendered, expected)
            async with asyncio.timeout(LIMIT):
                while not until(observation := cluster.observe()):
                    changed.clear()
                    await changed.wait()
            return observation

        return with_watches(self._kubeconfig, use, changed.set)

    def end(self) -> PreflightObservation:
        """End it, and return what is observed then."""

        async def use(client: KubeClient, cluster: KubeCluster) -> PreflightObservation:
            await self._preflights(client, cluster).end()
            return cluster.observe().preflight

        return with_watches(self._kubeconfig, use)

    def _preflights(self, client: KubeClient, cluster: KubeCluster) -> HelmPreflights:
        return HelmPreflights(self._command(), client, cluster.preflight, lambda: True)

    def _command(self) -> HelmCommand:
        return HelmCommand(binaries.ensure("helm")["helm"], self._directory, lambda *_: None)


@pytest.fixture
def preflight(
    cluster: Cluster, tmp_path: Path, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Preflight]:
    kubeconfig = cluster.kubeconfig_for(NAMESPACE, ACCOUNT)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    preflight = Preflight(kubeconfig, tmp_path, archives)
    yield preflight
    preflight.end()
    check_pods = ("pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=cilium-pre-flight-check")
    cluster.kubectl("wait", "--for=delete", *check_pods, f"--timeout={LIMIT}s")


def evaluate(observation: Observation, *, late: bool = False) -> PreflightEvaluation:
    first = evaluate_preflight(observation, None, TIMEOUT, 0.0)
    return evaluate_preflight(observation, first.progress, TIMEOUT, TIMEOUT if late else 0.0)


def passed(observation: Observation) -> bool:
    return evaluate(observation).result is PreflightResult.PASSED


def test_a_working_version_passes_on_all_hybrid_nodes_and_only_there(cluster: Cluster, preflight: Preflight) -> None:
    before = cluster.helm("get", "manifest", "cilium", "-n", "kube-system")
    observation = preflight.start(GOOD, until=passed)
    checks = cluster.get("daemonset", "cilium-pre-flight-check", "kube-system")["status"]
    left = preflight.end()

    assert {name for name, pod in observation.preflight.pods.items() if pod.ready} == HYBRID
    assert observation.preflight.validator is not None
    assert observation.preflight.validator.pod is not None
    assert observation.preflight.validator.pod.node in HYBRID
    # A pod for a cloud node would stay Pending forever; the node affinity prevents such pods.
    assert (checks["desiredNumberScheduled"], checks["numberReady"]) == (3, 3)
    assert not left.exists
    assert cluster.helm("get", "manifest", "cilium", "-n", "kube-system") == before


def test_a_version_with_a_broken_image_fails_and_reports_the_cause(preflight: Preflight) -> None:
    def all_failed(observation: Observation) -> bool:
        validator = observation.preflight.validator
        of_validator = None if validator is None else validator.pod
        return (
            of_validator is not None
            and bool(of_validator.failure_message)
            and all(failure_message(observation, node) for node in HYBRID)
        )

    observation = preflight.start(BAD, until=all_failed)
    evaluation = evaluate(observation, late=True)
    cause = "CrashLoopBackOff: the image is broken"

    assert evaluation.result is PreflightResult.FAILED
    assert (evaluation.ready, evaluation.expected) == (0, 3)
    assert evaluation.findings[0].startswith("policies were not validated: pod cilium-pre-flight-check-")
    assert {finding.partition(": ")[0] for finding in evaluation.findings[1:]} == {f"node {name}" for name in HYBRID}
    assert all(finding.endswith(cause) for finding in evaluation.findings)
    assert {pod.termination_message for pod in observation.preflight.pods.values()} == {"the image is broken"}
    assert evaluate(observation).result is PreflightResult.RUNNING


def test_a_node_without_an_agent_is_reported_and_does_not_block(cluster: Cluster, preflight: Preflight) -> None:
    cluster.add_node(NO_AGENT, labels={NO_AGENT: "true"})
    try:
        observation = preflight.start(
            GOOD, until=lambda observation: passed(observation) and failure_message(observation, NO_AGENT)
        )
    finally:
        cluster.remove_node(NO_AGENT)

    assert NO_AGENT not in observation.agents
    assert failure_message(observation, NO_AGENT).startswith("Unschedulable: 0/6 nodes are available: ")
    assert evaluate(observation).expected == 3


def test_pods_of_an_earlier_preflight_do_not_count(preflight: Preflight) -> None:
    """Pods of a working version, which are Ready until they are deleted, before those of a broken version."""
    preflight.start(GOOD, until=passed)
    observation = preflight.start(BAD, until=lambda observation: set(observation.preflight.pods) == HYBRID)

    assert not any(pod.ready for pod in observation.preflight.pods.values())


def failure_message(observation: Observation, node: str) -> str:
    pod = observation.preflight.pods.get(node)
    return "" if pod is None else pod.failure_message
