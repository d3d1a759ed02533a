"""Run the Kubernetes adapters against a cluster for the duration of one call."""

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
    """Connect, wait until every watch has synced, call `use`, and disconnect."""
    return asyncio.run(_with_watches(kubeconfig, use, changed))


async def _with_watches(
    kubeconfig: Path, use: Callable[[KubeClient, KubeCluster], Awaitable[Result]], changed: Callable[[], None]
) -> Result:
    client = await KubeClient.connect(str(kubeconfig))
    cluster = KubeCluster(client, changed)
    tasks = [asyncio.ensure_future(task) for task in cluster.background_tasks()]
    try:
        await asyncio.wait_for(cluster.wait_until_synced(), 30)
        return await use(client, cluster)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
