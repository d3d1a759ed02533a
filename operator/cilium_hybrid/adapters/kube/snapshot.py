"""One snapshot of a cluster, for commands that do not watch: the same observation as the operator's."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.lookups import read_payload, released_values
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Lookups, Observation
from cilium_hybrid.plan.running import last_deployed
from cilium_hybrid.plan.validate import lookup_request
from cilium_hybrid.ports import ClusterUnavailableError
from cilium_hybrid.rules.lenient_spec import read_lenient_spec

SYNC_SECONDS: Final = 30.0
"""Maximum time to list everything."""


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """A cluster at one moment. `lookups` are those for one spec, `released` the values of the deployed revision."""

    resource: Resource | None
    observation: Observation
    lookups: Lookups | None
    released: Mapping[str, Any]


async def read_snapshot(kubeconfig: str | None, spec: Any) -> ClusterSnapshot:
    """Read everything that a decision about this spec depends on; ClusterUnavailableError."""
    client = await KubeClient.connect(kubeconfig)
    try:
        # Fails at once if the API server does not answer; the watches would retry.
        await client.server_version()
        return await _read(client, spec)
    except TimeoutError:
        raise ClusterUnavailableError(
            f"cannot list everything that the plan depends on within {SYNC_SECONDS:g} s; see the warnings above"
        ) from None
    finally:
        await client.close()


async def _read(client: KubeClient, spec: Any) -> ClusterSnapshot:
    cluster = KubeCluster(client, lambda: None)
    tasks = [asyncio.ensure_future(task) for task in cluster.background_tasks()]
    try:
        async with asyncio.timeout(SYNC_SECONDS):
            await cluster.wait_until_synced()
        observation = cluster.observe()
        newest, deployed = observation.newest, last_deployed(observation)
        numbers = {revision.number for revision in (newest, deployed) if revision is not None}
        payloads = {number: await read_payload(client, number) for number in sorted(numbers)}
        observation = replace(observation, payloads=payloads)
        request = lookup_request(read_lenient_spec(spec), observation)
        return ClusterSnapshot(
            resource=await cluster.resource(),
            observation=observation,
            lookups=None if request is None else await cluster.lookups(request),
            released={} if deployed is None else await released_values(client, deployed.number),
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
