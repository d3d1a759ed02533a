"""Watches of a real API server that a proxy cuts and refuses, while single reads succeed."""

import asyncio
from collections.abc import Iterator

import pytest

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.watches import HYBRID_NODES
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.ports import StaleError
from contract.kube import with_watches
from testbed.cluster import Cluster
from testbed.interposer import Interposer

LIMIT = 30.0


@pytest.fixture
def interposer(testbed_cluster: Cluster) -> Iterator[Interposer]:
    with Interposer(testbed_cluster.kubeconfig, testbed_cluster.folder) as interposer:
        yield interposer


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_watch_that_is_refused_is_lost_until_what_it_missed_was_read(
    testbed_cluster: Cluster, interposer: Interposer, status: int
) -> None:
    name, changed = f"mi-{status}", asyncio.Event()

    async def use(client: KubeClient, cluster: KubeCluster) -> None:
        interposer.refuse_watches = {"/nodes": status}
        interposer.cut_watches()
        async with asyncio.timeout(LIMIT):
            while not _only_of_nodes(cluster.observe().lost_watches):  # noqa: ASYNC110 # a loss is reported later
                await asyncio.sleep(0.05)
        await asyncio.to_thread(testbed_cluster.add_node, name)
        listed = await client.get(HYBRID_NODES.path, HYBRID_NODES.query())
        assert name in {node["metadata"]["name"] for node in listed["items"]}
        with pytest.raises(StaleError, match="is lost"):
            await cluster.delete_agent_pods([PodRef("cilium-x", "u1")])

        interposer.refuse_watches = {}
        async with asyncio.timeout(LIMIT):
            while cluster.observe().lost_watches:
                changed.clear()
                await changed.wait()
        assert name in cluster.observe().nodes

    with_watches(interposer.kubeconfig, use, changed.set)


def _only_of_nodes(lost: tuple[str, ...]) -> bool:
    return len(lost) == 2 and all(clause.startswith("watch of nodes (") and "refused" in clause for clause in lost)
