"""The adapters of the Kubernetes API against a cluster, for the time of one call."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster

Result = TypeVar("Result")


def with_watches(
    kubeconfig: Path,
    use: Callable[[KubeClient, KubeCluster], Awaitable[Result]],
    changed: Callable[[], None] = lambda: None,
) -> Result:
    """Connect, wait until every watch is in step, use it and let go."""
    return asyncio.run(_with_watches(kubeconfig, use, changed))


async def _with_watches(
    kubeconfig: Path, use: Callable[[KubeClient, KubeCluster], Awaitable[Result]], changed: Callable[[], None]
) -> Result:
    client = await KubeClient.connect(str(kubeconfig))
    cluster = KubeCluster(client, changed)
    watches = [asyncio.ensure_future(watch) for watch in cluster.watches()]
    try:
        await asyncio.wait_for(cluster.synced(), 30)
        return await use(client, cluster)
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await client.close()
