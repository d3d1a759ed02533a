"""The part of Cilium's operator: make the CRDs, give out blocks, mark nodes; by the configuration at its start."""

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from testbed.cilium import crds
from testbed.cilium.ipam import Pools
from testbed.cilium.kube import (
    CONFLICT,
    MERGE_PATCH,
    PASSING,
    RETRY,
    STRATEGIC_PATCH,
    Kube,
    Object,
    Queue,
    Refused,
)
from testbed.cilium.view import NODES, PODS, View, pod_cidrs
from testbed.nodes import is_ready

CONFIG = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
CONFIG_RETRY = 1.0
# The annotation on an operator pod holds what that pod read of `cilium-config` when it started.
READ_AT_START = "testbed/read-at-start"
NOT_READY_TAINT = "node.cilium.io/agent-not-ready"
POOL_EXHAUSTED = "allocator full"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Leader:
    """The operator pod that leads, with its configuration."""

    pod: str
    pools: Pools
    sets_taints: bool


class Operators:
    """Acts for the operator pod that leads, as long as there is one."""

    def __init__(self, kube: Kube, view: View, queue: Queue) -> None:
        self._kube = kube
        self._view = view
        self._queue = queue
        self._leader: Leader | None = None

    def elect(self) -> None:
        """Let the operator pod that started first lead, as long as it runs."""
        running = [
            pod
            for pod in self._view.operators.objects.values()
            if is_ready(pod)
            and "deletionTimestamp" not in pod["metadata"]
            and READ_AT_START in pod["metadata"].get("annotations", {})
            and self._view.connected(pod["spec"]["nodeName"])
        ]
        first = min(running, key=lambda pod: (pod["status"]["startTime"], pod["metadata"]["name"]), default=None)
        if first is None:
            self._leader = None
        elif self._leader is None or self._leader.pod != first["metadata"]["name"]:
            read = json.loads(first["metadata"]["annotations"][READ_AT_START])
            pools = Pools.parse(read["cidrs"], read["mask"])
            self._leader = Leader(first["metadata"]["name"], pools, read["setTaints"])
            log.info("%s", self._leader)
            self._view.look_at_all()

    async def start(self, name: str) -> None:
        """Let a new operator pod make the CRDs and read its configuration, once."""
        pod = self._view.operators.objects.get(name)
        if pod is None or not is_ready(pod) or READ_AT_START in pod["metadata"].get("annotations", {}):
            return
        config = await self._kube.request("GET", CONFIG)
        if config is None:
            self._queue.add_after(f"operator/{name}", CONFIG_RETRY)
            return
        await self._make_crds()
        read = {
            "cidrs": config["data"].get("cluster-pool-ipv4-cidr", ""),
            "mask": config["data"].get("cluster-pool-ipv4-mask-size", "24"),
            "setTaints": config["data"].get("set-cilium-node-taints") == "true",
        }
        note = {"metadata": {"annotations": {READ_AT_START: json.dumps(read)}}}
        answer = await self._kube.request("PATCH", f"{PODS}/{name}", note, kind=MERGE_PATCH)
        self._view.operators.put_answer(answer)

    async def tend(self, name: str) -> None:
        """Do what the leader does for one node, which may be gone."""
        if self._leader is None:
            return
        if name in self._view.nodes.objects:
            await self._give_block(self._leader.pools, name)
            await self._mark_node(self._leader, name)
        elif name in self._view.cilium_nodes.objects:
            await self._kube.request("DELETE", f"{crds.CILIUM_NODES}/{name}")

    async def look_for_crds(self) -> None:
        """Find the CRDs that an earlier life of this program has made."""
        while True:
            try:
                if await self._kube.request("GET", f"{crds.CILIUM_NODES}?limit=1") is not None:
                    self._view.crds_served.set()
            except PASSING:
                await asyncio.sleep(RETRY)
            else:
                return

    async def _make_crds(self) -> None:
        for definition in crds.definitions():
            try:
                await self._kube.request("POST", crds.CRDS, definition)
            except Refused as refused:
                if refused.status != CONFLICT:
                    raise
        # The API server serves them a moment after it has taken them.
        while await self._kube.request("GET", f"{crds.CILIUM_NODES}?limit=1") is None:  # noqa: ASYNC110
            await asyncio.sleep(RETRY)
        self._view.crds_served.set()

    async def _give_block(self, pools: Pools, name: str) -> None:
        """Give a node that asked for it a block, or say that there is none left."""
        thing = self._view.cilium_nodes.objects.get(name)
        if thing is None or pod_cidrs(thing):
            self._view.unserved.discard(name)
            return
        block = self._view.blocks.allocate(pools)
        if block is None:
            self._view.unserved.add(name)
            await self._report(thing, POOL_EXHAUSTED)
            return
        # Promised before the answer, so that no other worker gives it away meanwhile.
        self._view.blocks.set(name, [str(block)])
        body = {"spec": {"ipam": {"podCIDRs": [str(block)]}}}
        given = await self._kube.request("PATCH", f"{crds.CILIUM_NODES}/{name}", body, kind=MERGE_PATCH)
        self._view.cilium_nodes.put_answer(given)
        await self._report(given or {}, None)

    async def _report(self, cilium_node: Object, error: str | None) -> None:
        """Keep the error of a CiliumNode's status, or its absence, up to date."""
        said = cilium_node.get("status", {}).get("ipam", {}).get("operator-status", {}).get("error")
        if cilium_node and said != error:
            path = f"{crds.CILIUM_NODES}/{cilium_node['metadata']['name']}/status"
            body = {"status": {"ipam": {"operator-status": {"error": error}}}}
            await self._kube.request("PATCH", path, body, kind=MERGE_PATCH)

    async def _mark_node(self, leader: Leader, name: str) -> None:
        """Keep the taint and the network's condition of a node in step with its agent."""
        node, pod = self._view.nodes.objects.get(name), self._view.agent_on(name)
        if node is None or pod is None:
            return
        ready, taints = is_ready(pod), node["spec"].get("taints", [])
        others = [taint for taint in taints if taint["key"] != NOT_READY_TAINT]
        tainted = len(others) < len(taints)
        if (ready and tainted) or (not ready and not tainted and leader.sets_taints):
            own = [] if ready else [{"key": NOT_READY_TAINT, "effect": "NoSchedule"}]
            # The version guards the taints of others: a list is replaced as a whole.
            version = node["metadata"]["resourceVersion"]
            body = {"metadata": {"resourceVersion": version}, "spec": {"taints": others + own}}
            answer = await self._kube.request("PATCH", f"{NODES}/{name}", body, kind=MERGE_PATCH)
            self._view.nodes.put_answer(answer)
        if ready and not _network_up(node):
            body = {"status": {"conditions": [_is_up()]}}
            answer = await self._kube.request("PATCH", f"{NODES}/{name}/status", body, kind=STRATEGIC_PATCH)
            self._view.nodes.put_answer(answer)


def _network_up(node: Object) -> bool:
    return any(one["type"] == "NetworkUnavailable" for one in node["status"].get("conditions", ()))


def _is_up() -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "NetworkUnavailable",
        "status": "False",
        "reason": "CiliumIsUp",
        "message": "Cilium is running on this node",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
