"""Memory of an idle watch; the operator has about twenty."""

import asyncio
import tracemalloc
from contextlib import AsyncExitStack

from cilium_hybrid.adapters.kube.client import JSON, KubeClient
from testbed.cluster import Cluster

WATCHES = 8
KIB = 1024


def test_an_idle_watch_uses_little_memory(testbed_cluster: Cluster) -> None:
    used = asyncio.run(_memory_of_watches(str(testbed_cluster.kubeconfig)))

    # With its default, asyncio uses 256 KiB just for the buffer of a connection.
    assert used / WATCHES < 128 * KIB


async def _memory_of_watches(kubeconfig: str) -> int:
    client = await KubeClient.connect(kubeconfig)
    query = {"watch": "true", "fieldSelector": "metadata.name=nothing"}
    try:
        async with AsyncExitStack() as watches:
            tracemalloc.start()
            for _ in range(WATCHES):
                await watches.enter_async_context(client.stream("/api/v1/nodes", query, JSON, 60.0))
            used, _ = tracemalloc.get_traced_memory()
            return used
    finally:
        tracemalloc.stop()
        await client.close()
