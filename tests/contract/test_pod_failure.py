"""Watches of pods whose kubelet repeats the same failing attempt."""

import asyncio
from typing import Any

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from contract.kube import with_watches
from testbed.api import MERGE_PATCH
from testbed.cluster import Cluster

PODS = "/api/v1/namespaces/kube-system/pods"
# These nodes do not exist, so no kubelet changes the pods.
NODE, LATER = "mi-nowhere", "mi-nowhere-else"
ATTEMPT = {"reason": "ErrImagePull", "message": 'failed to pull "x": not found'}
BACK_OFF = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}
NAMES = ("cilium-pull", "cilium-later")


def _agent(name: str, node: str) -> dict[str, Any]:
    spec = {"nodeName": node, "containers": [{"name": "cilium-agent", "image": "x"}]}
    metadata = {"name": name, "labels": {"k8s-app": "cilium"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_a_repeatedly_failing_pull_is_one_change(testbed_cluster: Cluster) -> None:
    def set_waiting(waiting: dict[str, str]) -> None:
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
        for waiting in [ATTEMPT, BACK_OFF] * 3:
            await asyncio.to_thread(set_waiting, waiting)
        # Events arrive in order: when this pod is observed, so are the earlier changes.
        await asyncio.to_thread(testbed_cluster.request, "POST", PODS, _agent(NAMES[1], LATER))
        while LATER not in cluster.observe().agents:
            await asyncio.wait_for(changed_event.wait(), 10)
            changed_event.clear()

    def changed() -> None:
        changed_event.set()
        agent = watched[0].observe().agents.get(NODE) if watched else None
        if agent is not None:
            messages.append(agent.failure_message)

    changed_event = asyncio.Event()
    watched: list[KubeCluster] = []
    messages: list[str] = []
    try:
        testbed_cluster.request("POST", PODS, _agent(NAMES[0], NODE))
        with_watches(testbed_cluster.kubeconfig, use, changed)
    finally:
        testbed_cluster.kubectl("delete", "pod", "-n", "kube-system", "--force", "--ignore-not-found", *NAMES)

    # The last change is that of the other pod.
    assert messages == ['ErrImagePull: failed to pull "x": not found'] * 2
