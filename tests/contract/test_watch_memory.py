"""What a watch holds while nothing happens: the operator has a score of them."""

import asyncio
import tracemalloc
from contextlib import AsyncExitStack

from cilium_hybrid.adapters.kube.client import JSON, KubeClient
from testbed.cluster import Cluster

WATCHES = 8
KIB = 1024


def test_an_idle_watch_holds_little(testbed_cluster: Cluster) -> None:
    has_finalizer = asyncio.run(_held_by_watches(str(testbed_cluster.kubeconfig)))

    # By itself asyncio takes 256 KiB for the buffer of a connection alone.
    assert has_finalizer / WATCHES < 128 * KIB


async def _held_by_watches(kubeconfig: str) -> int:
    client = await KubeClient.connect(kubeconfig)
    query = {"watch": "true", "fieldSelector": "metadata.name=nothing"}
    try:
        async with AsyncExitStack() as watches:
            tracemalloc.start()
            for _ in range(WATCHES):
                await watches.enter_async_context(client.stream("/api/v1/nodes", query, JSON, 60.0))
            has_finalizer, _ = tracemalloc.get_traced_memory()
            return has_finalizer
    finally:
        tracemalloc.stop()
        await client.close()
