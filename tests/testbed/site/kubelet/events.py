"""The Events that a kubelet records for a pod."""

import contextlib
from datetime import UTC, datetime
from typing import Any

from testbed.cilium.kube import MERGE_PATCH, TRANSIENT_ERRORS, KubeClient

Object = dict[str, Any]

SANDBOX_FAILED = "FailedCreatePodSandBox"


class Events:
    """Records the Events of one pod; one that repeats is counted."""

    def __init__(self, client: KubeClient, pod: Object) -> None:
        self._client = client
        self._pod = pod
        self._count = 0

    async def sandbox_failed(self, error: str) -> None:
        """Record that the pod's network could not be set up; the loss of an Event is not noticed."""
        metadata = self._pod["metadata"]
        sandbox = metadata["uid"].replace("-", "")
        message = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox"
        self._count += 1
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = f"{metadata['name']}.{sandbox[:16]}"
        event = {
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod"}
            | {key: metadata[key] for key in ("name", "namespace", "uid")},
            "type": "Warning",
            "reason": SANDBOX_FAILED,
            "message": f'{message} "{sandbox}": {error}',
            "source": {"component": "kubelet", "host": self._pod["spec"]["nodeName"]},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": self._count,
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/events"
        with contextlib.suppress(*TRANSIENT_ERRORS):
            if self._count == 1:
                await self._client.request("POST", path, event)
            else:
                again = {key: event[key] for key in ("count", "lastTimestamp", "message")}
                await self._client.request("PATCH", f"{path}/{name}", again, kind=MERGE_PATCH)
