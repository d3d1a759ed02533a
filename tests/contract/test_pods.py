"""What the watches tell of pods whose kubelet goes through the same again and again."""

import asyncio
from typing import Any

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from contract.kube import with_watches
from testbed.api import MERGE_PATCH
from testbed.cluster import Cluster

PODS = "/api/v1/namespaces/kube-system/pods"
# Nobody's: no kubelet is there to say otherwise.
NODE, LATER = "mi-nowhere", "mi-nowhere-else"
TRIES = {"reason": "ErrImagePull", "message": 'failed to pull "x": not found'}
BETWEEN = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}
NAMES = ("cilium-pull", "cilium-seen-later")


def _agent(name: str, node: str) -> dict[str, Any]:
    spec = {"nodeName": node, "containers": [{"name": "cilium-agent", "image": "x"}]}
    metadata = {"name": name, "labels": {"k8s-app": "cilium"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_a_pull_that_fails_again_and_again_is_one_change(testbed_cluster: Cluster) -> None:
    def say(waiting: dict[str, str]) -> None:
        container = {
            "name": "cilium-agent",
            "image": "x",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": waiting},
        }
        body = {"status": {"containerStatuses": [container]}}
        testbed_cluster.request("PATCH", f"{PODS}/{NAMES[0]}/status", body, kind=MERGE_PATCH)

    async def use(_: KubeClient, cluster: KubeCluster) -> None:
        watched.append(cluster)
        for waiting in [TRIES, BETWEEN] * 3:
            await asyncio.to_thread(say, waiting)
        # What was said before is seen before.
        await asyncio.to_thread(testbed_cluster.request, "POST", PODS, _agent(NAMES[1], LATER))
        while LATER not in cluster.observe().agents:
            await asyncio.wait_for(rung.wait(), 10)
            rung.clear()

    def changed() -> None:
        rung.set()
        agent = watched[0].observe().agents.get(NODE) if watched else None
        if agent is not None:
            told.append(agent.failure_message)

    rung = asyncio.Event()
    watched: list[KubeCluster] = []
    told: list[str] = []
    try:
        testbed_cluster.request("POST", PODS, _agent(NAMES[0], NODE))
        with_watches(testbed_cluster.kubeconfig, use, changed)
    finally:
        testbed_cluster.kubectl("delete", "pod", "-n", "kube-system", "--force", "--ignore-not-found", *NAMES)

    # The last ring is of the other pod.
    assert told == ['ErrImagePull: failed to pull "x": not found'] * 2
