"""The part of a preflight's validator: hold every policy against the schema of its own version, once at each start.

It knows one mistake, that of Cilium's upgrade guide: `spec.labels` that is no object. Its log has the form of
cilium-dbg's, which changed with 1.18.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from testbed.cilium import crds, status
from testbed.cilium.kube import MERGE_PATCH, Kube, Object, Queue
from testbed.cilium.starts import Starts
from testbed.cilium.status import State
from testbed.cilium.view import PODS, View
from testbed.nodes import is_ready

KINDS = {
    "CiliumNetworkPolicy": f"/apis/{crds.GROUP}/v2/ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": f"/apis/{crds.GROUP}/v2/ciliumclusterwidenetworkpolicies",
}
# As much as a kubelet takes of a log for a termination message.
MOST_WORDS = 2048
NAMES_BESIDE = (1, 18)


class Validators:
    """Runs the validator pod, by what the view knows of it."""

    def __init__(self, kube: Kube, view: View, queue: Queue) -> None:
        self._kube = kube
        self._view = view
        self._starts = Starts(queue)

    async def run(self, name: str) -> None:
        """Do what the validator does: read the policies, then sleep, or end with an error and be restarted."""
        pod, key = self._view.validators.objects.get(name), f"validator/{name}"
        if pod is None or "deletionTimestamp" in pod["metadata"] or is_ready(pod) or status.broken(pod):
            return
        node = pod["spec"].get("nodeName", "")
        if not self._view.connected(node) or not self._starts.started(pod, key) or self._starts.waits(pod):
            return
        policies = [policy for kind, path in KINDS.items() for policy in await self._policies(kind, path)]
        refused = any(_error(policy) for policy in policies)
        expected = status.status(
            pod,
            self._view.nodes.objects[node],
            State.CRASH if refused else State.READY,
            self._starts.restarts(pod, key) if refused else status.restarts(pod),
            last_words=log(policies, _version(pod))[-MOST_WORDS:],
        )
        await self._kube.request("PATCH", f"{PODS}/{name}/status", {"status": expected}, kind=MERGE_PATCH)

    async def _policies(self, kind: str, path: str) -> list[Object]:
        found = await self._kube.request("GET", path) or {"items": []}
        return [policy | {"kind": kind} for policy in found["items"]]


def log(policies: Iterable[Object], version: tuple[int, int]) -> str:
    """Return what `cilium-dbg preflight validate-cnp` of a version (major, minor) writes."""
    return "\n".join(_lines(list(policies), version))


def _lines(policies: list[Object], version: tuple[int, int]) -> Iterator[str]:
    yield 'level=info msg="Setting up Kubernetes client"'
    for policy in policies:
        kind, metadata, error = policy["kind"], policy["metadata"], _error(policy)
        name = "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
        if version < NAMES_BESIDE:
            verdict = f"unexpected validation error: {error}" if error else "OK!"
            text = json.dumps(f"Validating {kind} '{name}': {verdict}\n")
            yield f"level={'error' if error else 'info'} msg={text}"
        elif error:
            message = f'level=error msg="Unexpected validation error" error={json.dumps(error)}'
            yield f"time={_now()} {message} type={kind} name={name}"
        else:
            yield f'time={_now()} level=info msg="Validation OK!" type={kind} name={name}'
    if any(map(_error, policies)):
        level = "error" if version < NAMES_BESIDE else "fatal"
        yield f'level={level} msg="Found invalid CiliumNetworkPolicy"'


def _error(policy: Object) -> str:
    """Why the version's schema does not take a policy; empty where it does."""
    labels: Any = policy.get("spec", {}).get("labels", {})
    if isinstance(labels, dict):
        return ""
    kind = "string" if isinstance(labels, str) else "array"
    return f'spec.labels: Invalid value: "{kind}": spec.labels in body must be of type object: "{kind}"'


def _version(pod: Object) -> tuple[int, int]:
    """The minor release that a pod's image is of."""
    found = re.search(r":v?(\d+)\.(\d+)", pod["spec"]["containers"][0]["image"])
    return (int(found[1]), int(found[2])) if found else NAMES_BESIDE


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
