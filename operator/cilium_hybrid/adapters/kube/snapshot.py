"""One look at a cluster, for a command that ends: what the operator's watches would hold."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.lookups import released_values
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Lookups, Observation
from cilium_hybrid.plan.release import last_deployed
from cilium_hybrid.plan.validate import lookup_request
from cilium_hybrid.ports import ClusterUnavailableError

LONGEST_LOOK: Final = 30.0
"""Seconds that the lists of everything may take."""


@dataclass(frozen=True, slots=True)
class Look:
    """A cluster at one moment; `released` are the values of the release that runs, `survey` answers for one spec."""

    resource: Resource | None
    observation: Observation
    lookups: Lookups | None
    released: Mapping[str, Any]


async def look(kubeconfig: str | None, spec: Any) -> Look:
    """See what a decision about this spec looks at; ClusterUnavailableError."""
    client = await KubeClient.connect(kubeconfig)
    try:
        # Fails at once where nobody answers, and says so; the watches would wait for it.
        await client.server_version()
        return await _look(client, spec)
    except TimeoutError:
        message = f"the cluster did not show within {LONGEST_LOOK:g} s all that a plan rests on"
        raise ClusterUnavailableError(f"{message}: see the warnings above") from None
    finally:
        await client.close()


async def _look(client: KubeClient, spec: Any) -> Look:
    cluster = KubeCluster(client, lambda: None)
    watches = [asyncio.ensure_future(watch) for watch in cluster.watches()]
    try:
        async with asyncio.timeout(LONGEST_LOOK):
            await cluster.synced()
        observation = cluster.observe()
        asked, deployed = lookup_request(spec, observation), last_deployed(observation)
        return Look(
            resource=await cluster.resource(),
            observation=observation,
            lookups=None if asked is None else await cluster.lookups(asked),
            released={} if deployed is None else await released_values(client, deployed.number),
        )
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
