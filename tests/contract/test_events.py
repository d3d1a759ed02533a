"""Events as the API server accepts them and kubectl shows them."""

import asyncio

from builders import a_raw_spec
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.events import EVENTS
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.status.events import StatusEvent
from contract.kube import with_watches
from contract.test_cluster import KubeHarness
from testbed.cluster import Cluster


def test_kubectl_describe_shows_the_events_selector(testbed_cluster: Cluster) -> None:
    KubeHarness(testbed_cluster).edit(a_raw_spec())

    async def use(client: KubeClient, cluster: KubeCluster) -> None:
        resource = await cluster.resource()
        assert resource is not None
        cluster.record_events(
            resource,
            [
                StatusEvent(Reason.IN_SYNC, "all nodes are ready"),
                StatusEvent(Reason.ROLLED_BACK, "x" * 3000, warning=True),
            ],
        )
        selector = {"fieldSelector": "involvedObject.kind=CiliumHybrid"}
        async with asyncio.timeout(10):
            while len((await client.get(EVENTS, selector))["items"]) < 2:  # noqa: ASYNC110 # a server has no Event
                await asyncio.sleep(0.05)

    with_watches(testbed_cluster.kubeconfig, use)
    described = testbed_cluster.kubectl("describe", "ciliumhybrid", "default")
    events = described.partition("Events:")[2]

    assert "InSync" in events
    assert "RolledBack" in events
    assert "cilium-hybrid-operator" in events
    assert "all nodes are ready" in events
