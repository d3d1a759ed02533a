"""Agents that the scheduler cannot schedule: both watches report their node and the scheduler's message."""

import asyncio
import json

from builders import DIGEST, NOW
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.status_watch import StatusWatch
from cilium_hybrid.api.status import UnreadyReason
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.status.nodes import evaluate_nodes
from contract.kube import with_watches
from testbed.cluster import Cluster

LIMIT = 30.0
SMALL = "mi-small"
RESOURCE = {
    "apiVersion": "ciliumhybrid.io/v1alpha1",
    "kind": "CiliumHybrid",
    "metadata": {"name": "default"},
    "spec": {"version": "1.18.8-1", "ipam": {"podCIDRs": ["10.85.0.0/16"], "maskSize": 25}},
}
# A node of the testbed has 32.
AGENTS = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "cilium", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"k8s-app": "cilium"}},
        "template": {
            "metadata": {"labels": {"k8s-app": "cilium"}},
            "spec": {
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "cilium-agent", "image": "x", "resources": {"requests": {"cpu": "64"}}}],
            },
        },
    },
}


def _observed_by_operator(cluster: Cluster) -> Observation:
    changed = asyncio.Event()

    async def use(_: KubeClient, watched: KubeCluster) -> Observation:
        async with asyncio.timeout(LIMIT):
            while not (observation := watched.observe()).unplaced:
                changed.clear()
                await changed.wait()
        return observation

    return with_watches(cluster.kubeconfig, use, changed.set)


def _observed_by_status_watch(cluster: Cluster) -> Observation | None:
    async def observe() -> Observation | None:
        async with StatusWatch.open(str(cluster.kubeconfig), lambda: None) as watch:
            return watch.snapshot().observation

    return asyncio.run(observe())


def test_an_unschedulable_agent_is_reported_for_its_node_with_the_message_of_the_scheduler(
    testbed_cluster: Cluster,
) -> None:
    testbed_cluster.add_node(SMALL)
    for manifest in (RESOURCE, AGENTS):
        testbed_cluster.apply(json.dumps(manifest))
    operator = _observed_by_operator(testbed_cluster)
    status = _observed_by_status_watch(testbed_cluster)
    (failing,) = evaluate_nodes(operator, DIGEST, {}, NOW).unready

    assert operator.agents == {}
    assert operator.unplaced[SMALL].startswith("Unschedulable: 0/1 nodes are available: 1 Insufficient cpu")
    assert (failing.name, failing.reason) == (SMALL, UnreadyReason.AGENT_NOT_READY)
    assert failing.message == f"agent pod cannot be scheduled on the node: {operator.unplaced[SMALL]}"
    assert status is not None
    assert status.unplaced == operator.unplaced
