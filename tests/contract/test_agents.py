"""Agents that the real scheduler cannot place: the node that they are for, and its words."""

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


def _by_the_operator(cluster: Cluster) -> Observation:
    changed = asyncio.Event()

    async def use(_: KubeClient, watched: KubeCluster) -> Observation:
        async with asyncio.timeout(LIMIT):
            while not (seen := watched.observe()).unplaced:
                changed.clear()
                await changed.wait()
        return seen

    return with_watches(cluster.kubeconfig, use, changed.set)


def _by_the_command(cluster: Cluster) -> Observation | None:
    async def look() -> Observation | None:
        async with StatusWatch.look(str(cluster.kubeconfig), lambda: None) as watch:
            return watch.snapshot().observation

    return asyncio.run(look())


def test_an_agent_without_a_place_is_told_by_its_node_in_the_words_of_the_scheduler(testbed_cluster: Cluster) -> None:
    testbed_cluster.add_node(SMALL)
    for thing in (RESOURCE, AGENTS):
        testbed_cluster.apply(json.dumps(thing))
    seen = _by_the_operator(testbed_cluster)
    watch = _by_the_command(testbed_cluster)
    (failing,) = evaluate_nodes(seen, DIGEST, {}, NOW).failing

    assert seen.agents == {}
    assert seen.unplaced[SMALL].startswith("Unschedulable: 0/1 nodes are available: 1 Insufficient cpu")
    assert (failing.name, failing.reason) == (SMALL, UnreadyReason.AGENT_NOT_READY)
    assert failing.message == f"the agent's pod has no place on the node: {seen.unplaced[SMALL]}"
    assert watch is not None
    assert watch.unplaced == seen.unplaced
