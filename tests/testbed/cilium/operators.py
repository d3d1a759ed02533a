"""The Cilium operator: create the CRDs, allocate blocks, and set taints and conditions of nodes.

A pod reads its configuration when it starts, as the Cilium operator does.
"""

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from testbed.cilium import crds
from testbed.cilium.cluster_state import NODES, PODS, ClusterState, pod_cidrs
from testbed.cilium.ipam import Pools
from testbed.cilium.kube import (
    MERGE_PATCH,
    RETRY,
    STRATEGIC_PATCH,
    TRANSIENT_ERRORS,
    KubeClient,
    Object,
    Queue,
    RequestError,
)
from testbed.nodes import is_ready

CONFIG = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
CONFIG_RETRY = 1.0
# The annotation on an operator pod holds what the pod read from `cilium-config` when it started.
READ_AT_START = "testbed/read-at-start"
NOT_READY_TAINT = "node.cilium.io/agent-not-ready"
POOL_EXHAUSTED = "allocator full"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Leader:
    """The leading operator pod, with its configuration."""

    pod: str
    pools: Pools
    sets_taints: bool


class Operators:
    """Acts as the leading operator pod, if there is one."""

    def __init__(self, client: KubeClient, cluster: ClusterState, queue: Queue) -> None:
        self._client = client
        self._cluster = cluster
        self._queue = queue
        self._leader: Leader | None = None

    def elect(self) -> None:
        """Make the running operator pod that started first the leader."""
        running = [
            pod
            for pod in self._cluster.operators.objects.values()
            if is_ready(pod)
            and "deletionTimestamp" not in pod["metadata"]
            and READ_AT_START in pod["metadata"].get("annotations", {})
            and self._cluster.connected(pod["spec"]["nodeName"])
        ]
        first = min(running, key=lambda pod: (pod["status"]["startTime"], pod["metadata"]["name"]), default=None)
        if first is None:
            self._leader = None
        elif self._leader is None or self._leader.pod != first["metadata"]["name"]:
            read = json.loads(first["metadata"]["annotations"][READ_AT_START])
            pools = Pools.parse(read["cidrs"], read["mask"])
            self._leader = Leader(first["metadata"]["name"], pools, read["setTaints"])
            log.info("%s", self._leader)
            self._cluster.requeue_all()

    async def start_pod(self, name: str) -> None:
        """Let a new operator pod create the CRDs and read its configuration, once."""
        pod = self._cluster.operators.objects.get(name)
        if pod is None or not is_ready(pod) or READ_AT_START in pod["metadata"].get("annotations", {}):
            return
        config = await self._client.request("GET", CONFIG)
        if config is None:
            self._queue.add_after(f"operator/{name}", CONFIG_RETRY)
            return
        await self._create_crds()
        read = {
            "cidrs": config["data"].get("cluster-pool-ipv4-cidr", ""),
            "mask": config["data"].get("cluster-pool-ipv4-mask-size", "24"),
            "setTaints": config["data"].get("set-cilium-node-taints") == "true",
        }
        patch = {"metadata": {"annotations": {READ_AT_START: json.dumps(read)}}}
        response = await self._client.request("PATCH", f"{PODS}/{name}", patch, kind=MERGE_PATCH)
        self._cluster.operators.put_response(response)

    async def reconcile_node(self, name: str) -> None:
        """Do what the leader does for a node that exists or was deleted."""
        if self._leader is None:
            return
        if name in self._cluster.nodes.objects:
            await self._allocate_block(self._leader.pools, name)
            await self._update_node(self._leader, name)
        elif name in self._cluster.cilium_nodes.objects:
            await self._client.request("DELETE", f"{crds.CILIUM_NODES}/{name}")

    async def find_crds(self, *, wait: bool) -> None:
        """Find the CRDs that an earlier run of this program has created, or wait until Cilium itself creates them."""
        while True:
            try:
                served = await self._client.request("GET", f"{crds.CILIUM_NODES}?limit=1") is not None
            except TRANSIENT_ERRORS:
                await asyncio.sleep(RETRY)
                continue
            if served:
                self._cluster.crds_served.set()
                self._cluster.requeue_all()
            if served or not wait:
                return
            await asyncio.sleep(RETRY)

    async def _create_crds(self) -> None:
        for crd in crds.crds():
            try:
                await self._client.request("POST", crds.CRDS, crd)
            except RequestError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
        # The API server serves them a moment after it has accepted them.
        while await self._client.request("GET", f"{crds.CILIUM_NODES}?limit=1") is None:  # noqa: ASYNC110
            await asyncio.sleep(RETRY)
        self._cluster.crds_served.set()

    async def _allocate_block(self, pools: Pools, name: str) -> None:
        """Allocate a block for a node that requested one, or report that the pools are exhausted."""
        cilium_node = self._cluster.cilium_nodes.objects.get(name)
        if cilium_node is None or pod_cidrs(cilium_node):
            self._cluster.waiting_nodes.discard(name)
            return
        block = self._cluster.blocks.allocate(pools)
        if block is None:
            self._cluster.waiting_nodes.add(name)
            await self._report(cilium_node, POOL_EXHAUSTED)
            return
        # Reserved before the response, so that no other worker allocates it in the meantime.
        self._cluster.blocks.set(name, [str(block)])
        body = {"spec": {"ipam": {"podCIDRs": [str(block)]}}}
        response = await self._client.request("PATCH", f"{crds.CILIUM_NODES}/{name}", body, kind=MERGE_PATCH)
        self._cluster.cilium_nodes.put_response(response)
        await self._report(response or {}, None)

    async def _report(self, cilium_node: Object, error: str | None) -> None:
        """Set the error in a CiliumNode's status, None to clear it."""
        reported = cilium_node.get("status", {}).get("ipam", {}).get("operator-status", {}).get("error")
        if cilium_node and reported != error:
            path = f"{crds.CILIUM_NODES}/{cilium_node['metadata']['name']}/status"
            body = {"status": {"ipam": {"operator-status": {"error": error}}}}
            await self._client.request("PATCH", path, body, kind=MERGE_PATCH)

    async def _update_node(self, leader: Leader, name: str) -> None:
        """Update the taint and the condition NetworkUnavailable of a node to the state of its agent."""
        node, pod = self._cluster.nodes.objects.get(name), self._cluster.agent_on(name)
        if node is None or pod is None:
            return
        ready, taints = is_ready(pod), node["spec"].get("taints", [])
        others = [taint for taint in taints if taint["key"] != NOT_READY_TAINT]
        tainted = len(others) < len(taints)
        if (ready and tainted) or (not ready and not tainted and leader.sets_taints):
            own = [] if ready else [{"key": NOT_READY_TAINT, "effect": "NoSchedule"}]
            # The resourceVersion protects the taints of other writers: the list is replaced as a whole.
            version = node["metadata"]["resourceVersion"]
            body = {"metadata": {"resourceVersion": version}, "spec": {"taints": others + own}}
            response = await self._client.request("PATCH", f"{NODES}/{name}", body, kind=MERGE_PATCH)
            self._cluster.nodes.put_response(response)
        if ready and not _has_network_condition(node):
            body = {"status": {"conditions": [_network_available()]}}
            response = await self._client.request("PATCH", f"{NODES}/{name}/status", body, kind=STRATEGIC_PATCH)
            self._cluster.nodes.put_response(response)


def _has_network_condition(node: Object) -> bool:
    return any(condition["type"] == "NetworkUnavailable" for condition in node["status"].get("conditions", ()))


def _network_available() -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "NetworkUnavailable",
        "status": "False",
        "reason": "CiliumIsUp",
        "message": "Cilium is running on this node",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
