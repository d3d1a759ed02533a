"""A preflight on nodes, started and judged under the rights that the operator has."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import DIGEST, NOW, OTHER_DIGEST, a_spec
from chart.package import package
from cilium_hybrid.adapters.clock import SystemClock
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.preflight import HelmPreflights
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.api.status import PreflightResult
from cilium_hybrid.plan.observation import Observation, PreflightObservation, Revision
from cilium_hybrid.plan.upgrade.preflight import PreflightEvaluation, evaluate_preflight, preflight_values
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
ALONE = "mi-alone"
EXPRESSIONS = [
    {"key": HYBRID_LABEL, "operator": "In", "values": [HYBRID_VALUE]},
    {"key": ALONE, "operator": "DoesNotExist"},
]
AGENTS = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": EXPRESSIONS}]}
    }
}
TIMEOUT = timedelta(minutes=10)
LIMIT = 60.0


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("charts")
    return {version: package(version, folder) for version in (RUNS, GOOD, BAD)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> Iterator[Cluster]:
    """Three hybrid nodes with Cilium's agents, two cloud nodes without; the operator's rights, and no operator."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=3, cloud=2) as cluster:
        install(cluster)
        # Agents on the hybrid nodes but for those that a test adds.
        pool = {"clusterPoolIPv4MaskSize": 25, "clusterPoolIPv4PodCIDRList": ["10.85.0.0/16"]}
        values = {"affinity": AGENTS, "operator": {"affinity": AGENTS}, "ipam": {"operator": pool}}
        helm_install = ("install", "cilium", archives[RUNS], "-n", "kube-system", "--values", "-")
        cluster.helm(*helm_install, stdin=json.dumps(values))
        wait_until(lambda: cluster.ready_nodes() == 5, timeout=LIMIT, what="every node is Ready")
        yield cluster


class Preflight:
    """The operator with one preflight."""

    def __init__(self, kubeconfig: Path, folder: Path, archives: dict[str, Path]) -> None:
        self._kubeconfig, self._folder, self._archives = kubeconfig, folder, archives

    def start(self, version: str, until: Callable[[Observation], Any]) -> Observation:
        """Start it, and look whenever something changed until what is seen is it."""
        changed = asyncio.Event()

        async def use(client: KubeClient, cluster: KubeCluster) -> Observation:
            chart = FetchedChart(self._archives[version], version, DIGEST)
            expected = Revision(1, "deployed", NOW, True, version, DIGEST, OTHER_DIGEST)
            await self._preflights(client, cluster).start(chart, preflight_values(a_spec()), expected)
            async with asyncio.timeout(LIMIT):
                while not until(seen := cluster.observe()):
                    changed.clear()
                    await changed.wait()
            return seen

        return with_watches(self._kubeconfig, use, changed.set)

    def end(self) -> PreflightObservation:
        """Take it away, and look."""

        async def use(client: KubeClient, cluster: KubeCluster) -> PreflightObservation:
            await self._preflights(client, cluster).end()
            return cluster.observe().preflight

        return with_watches(self._kubeconfig, use)

    def _preflights(self, client: KubeClient, cluster: KubeCluster) -> HelmPreflights:
        command = HelmCommand(binaries.ensure("helm")["helm"], self._folder, lambda *_: None)
        return HelmPreflights(command, client, cluster.preflight, lambda: True)


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


def judged(seen: Observation, *, late: bool = False) -> PreflightEvaluation:
    now = SystemClock().now()
    return evaluate_preflight(seen, None, TIMEOUT, now + TIMEOUT if late else now)


def passed(seen: Observation) -> bool:
    return judged(seen).result is PreflightResult.PASSED


def test_a_good_version_passes_on_the_hybrid_nodes_alone(cluster: Cluster, preflight: Preflight) -> None:
    before = cluster.helm("get", "manifest", "cilium", "-n", "kube-system")
    seen = preflight.start(GOOD, until=passed)
    checks = cluster.get("daemonset", "cilium-pre-flight-check", "kube-system")["status"]
    left = preflight.end()

    assert {name for name, pod in seen.preflight.pods.items() if pod.ready} == HYBRID
    assert seen.preflight.validator is not None
    assert seen.preflight.validator.pod is not None
    assert seen.preflight.validator.pod.node in HYBRID
    # A pod for a cloud node would stay Pending for ever; with the label in its selector there is none.
    assert (checks["desiredNumberScheduled"], checks["numberReady"]) == (3, 3)
    assert not left.there
    assert cluster.helm("get", "manifest", "cilium", "-n", "kube-system") == before


def test_a_version_whose_image_is_broken_fails_and_says_why(preflight: Preflight) -> None:
    def told(seen: Observation) -> bool:
        validator = seen.preflight.validator
        of_validator = None if validator is None else validator.pod
        return (
            of_validator is not None
            and bool(of_validator.failure_message)
            and all(failure_message(seen, node) for node in HYBRID)
        )

    seen = preflight.start(BAD, until=told)
    verdict = judged(seen, late=True)
    cause = "CrashLoopBackOff: the image is broken"

    assert verdict.result is PreflightResult.FAILED
    assert (verdict.ready, verdict.expected) == (0, 3)
    assert verdict.findings[0].startswith("policies were not validated: pod cilium-pre-flight-check-")
    assert {finding.partition(": ")[0] for finding in verdict.findings[1:]} == {f"node {name}" for name in HYBRID}
    assert all(finding.endswith(cause) for finding in verdict.findings)
    assert {pod.last_words for pod in seen.preflight.pods.values()} == {"the image is broken"}
    assert judged(seen).result is PreflightResult.RUNNING


def test_a_node_without_an_agent_waits_by_its_name_and_blocks_nobody(cluster: Cluster, preflight: Preflight) -> None:
    cluster.add_node(ALONE, labels={ALONE: "true"})
    try:
        seen = preflight.start(GOOD, until=lambda seen: passed(seen) and failure_message(seen, ALONE))
    finally:
        cluster.remove_node(ALONE)

    assert ALONE not in seen.agents
    assert failure_message(seen, ALONE).startswith("Unschedulable: 0/6 nodes are available: ")
    assert judged(seen).expected == 3


def test_pods_of_the_preflight_before_do_not_count(preflight: Preflight) -> None:
    """A good one right before a broken one: its pods are Ready until they are gone."""
    preflight.start(GOOD, until=passed)
    seen = preflight.start(BAD, until=lambda seen: set(seen.preflight.pods) == HYBRID)

    assert not any(pod.ready for pod in seen.preflight.pods.values())


def failure_message(seen: Observation, node: str) -> str:
    pod = seen.preflight.pods.get(node)
    return "" if pod is None else pod.failure_message
