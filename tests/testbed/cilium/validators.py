"""The policy validator of the preflight check: at each start it validates every policy against its version's schema.

It detects one error, the one in the example of Cilium's upgrade guide: `spec.labels` is not an object. Its log has the
format of cilium-dbg, which changed in 1.18.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from testbed.cilium import crds, status
from testbed.cilium.cluster_state import PODS, ClusterState
from testbed.cilium.container_starts import ContainerStarts
from testbed.cilium.kube import MERGE_PATCH, KubeClient, Object, Queue
from testbed.cilium.status import State
from testbed.nodes import is_ready

KINDS = {
    "CiliumNetworkPolicy": f"/apis/{crds.GROUP}/v2/ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": f"/apis/{crds.GROUP}/v2/ciliumclusterwidenetworkpolicies",
}
# The kubelet's limit for a termination message from the log.
TERMINATION_MESSAGE_BYTES = 2048
# Since this minor release, the log has the policy's kind and name in separate fields.
STRUCTURED_SINCE = (1, 18)


class Validators:
    """Runs the validator pod."""

    def __init__(self, client: KubeClient, cluster: ClusterState, queue: Queue) -> None:
        self._client = client
        self._cluster = cluster
        self._starts = ContainerStarts(queue)

    async def run(self, name: str) -> None:
        """Do what the validator does: read the policies, then sleep, or exit with an error and be restarted."""
        pod, key = self._cluster.validators.objects.get(name), f"validator/{name}"
        if pod is None or "deletionTimestamp" in pod["metadata"] or is_ready(pod) or status.broken(pod):
            return
        node = pod["spec"].get("nodeName", "")
        if not self._cluster.connected(node) or not self._starts.started(pod, key) or self._starts.in_backoff(pod):
            return
        policies = [policy for kind, path in KINDS.items() for policy in await self._policies(kind, path)]
        rejected = any(_error(policy) for policy in policies)
        expected = status.status(
            pod,
            self._cluster.nodes.objects[node],
            State.CRASH if rejected else State.READY,
            self._starts.restarts(pod, key) if rejected else status.restarts(pod),
            termination_message=log(policies, _version(pod))[-TERMINATION_MESSAGE_BYTES:],
        )
        await self._client.request("PATCH", f"{PODS}/{name}/status", {"status": expected}, kind=MERGE_PATCH)

    async def _policies(self, kind: str, path: str) -> list[Object]:
        found = await self._client.request("GET", path) or {"items": []}
        return [policy | {"kind": kind} for policy in found["items"]]


def log(policies: Iterable[Object], version: tuple[int, int]) -> str:
    """Return what `cilium-dbg preflight validate-cnp` of a version (major, minor) writes."""
    return "\n".join(_lines(list(policies), version))


def _lines(policies: list[Object], version: tuple[int, int]) -> Iterator[str]:
    yield 'level=info msg="Setting up Kubernetes client"'
    for policy in policies:
        kind, metadata, error = policy["kind"], policy["metadata"], _error(policy)
        name = "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
        if version < STRUCTURED_SINCE:
            verdict = f"unexpected validation error: {error}" if error else "OK!"
            text = json.dumps(f"Validating {kind} '{name}': {verdict}\n")
            yield f"level={'error' if error else 'info'} msg={text}"
        elif error:
            message = f'level=error msg="Unexpected validation error" error={json.dumps(error)}'
            yield f"time={_now()} {message} type={kind} name={name}"
        else:
            yield f'time={_now()} level=info msg="Validation OK!" type={kind} name={name}'
    if any(map(_error, policies)):
        level = "error" if version < STRUCTURED_SINCE else "fatal"
        yield f'level={level} msg="Found invalid CiliumNetworkPolicy"'


def _error(policy: Object) -> str:
    """Return why the schema rejects a policy, empty if it is valid."""
    labels: Any = policy.get("spec", {}).get("labels", {})
    if isinstance(labels, dict):
        return ""
    kind = "string" if isinstance(labels, str) else "array"
    return f'spec.labels: Invalid value: "{kind}": spec.labels in body must be of type object: "{kind}"'


def _version(pod: Object) -> tuple[int, int]:
    """Return the minor release in the tag of a pod's image."""
    found = re.search(r":v?(\d+)\.(\d+)", pod["spec"]["containers"][0]["image"])
    return (int(found[1]), int(found[2])) if found else STRUCTURED_SINCE


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
