"""The part of Cilium's agents: ask for a block, get ready, bring the node's network up; or fail as told."""

import asyncio

from testbed.cilium import crds, status
from testbed.cilium.kube import MERGE_PATCH, Kube, Object, Queue
from testbed.cilium.status import State
from testbed.cilium.view import NODES, PODS, View, pod_cidrs
from testbed.nodes import CNI, CNI_INSTALLED, is_ready

START_TAKES = 0.5
CRASH_BACKOFF = (1.0, 2.0, 4.0, 8.0)


class Agents:
    """Runs the agent of one node at a time, by what the view knows of it."""

    def __init__(self, kube: Kube, view: View, queue: Queue) -> None:
        self._kube = kube
        self._view = view
        self._queue = queue
        self._first_seen: dict[str, float] = {}
        self._next_crash: dict[str, float] = {}

    async def run(self, name: str) -> None:
        """Do what the agent on a node does, and report of it what the kubelet does."""
        node, pod = self._view.nodes.objects.get(name), self._view.agent_on(name)
        if node is None or pod is None or not self._view.connected(name) or not self._started(pod, name):
            return
        state = status.fault(node, pod)
        if state is None:
            # An agent that was ready goes on without its CiliumNode, and makes it again.
            has_block = await self._has_block(node)
            state = State.READY if has_block or is_ready(pod) else State.STARTING
        restarts = self._restarts(pod, name) if state is State.CRASH else status.restarts(pod)
        expected = status.status(pod, node, state, restarts)
        if not status.says(pod["status"], expected):
            path = f"{PODS}/{pod['metadata']['name']}/status"
            answer = await self._kube.request("PATCH", path, {"status": expected}, kind=MERGE_PATCH)
            self._view.agents.put_answer(answer)
        if state is State.READY and node["metadata"].get("annotations", {}).get(CNI) != CNI_INSTALLED:
            # The agent writes the CNI's configuration; the kubelet finds it and turns the node Ready.
            mark = {"metadata": {"annotations": {CNI: CNI_INSTALLED}}}
            await self._kube.request("PATCH", f"{NODES}/{name}", mark, kind=MERGE_PATCH)

    def _started(self, pod: Object, node: str) -> bool:
        """Whether the containers had the time to start; otherwise come back when they had."""
        now = asyncio.get_running_loop().time()
        left = self._first_seen.setdefault(pod["metadata"]["uid"], now) + START_TAKES - now
        if left > 0:
            self._queue.add_after(f"node/{node}", left)
        return left <= 0

    def _restarts(self, pod: Object, node: str) -> int:
        """Return how often a crashing agent has been restarted by now, and come back for the next time."""
        uid, count = pod["metadata"]["uid"], status.restarts(pod)
        now = asyncio.get_running_loop().time()
        if self._next_crash.get(uid, now) > now:
            return count
        backoff = CRASH_BACKOFF[min(count, len(CRASH_BACKOFF) - 1)]
        self._next_crash[uid] = now + backoff
        self._queue.add_after(f"node/{node}", backoff)
        return count + 1

    async def _has_block(self, node: Object) -> bool:
        """Ask for the node's block, as the agent does by making its CiliumNode."""
        known = self._view.cilium_nodes.objects.get(node["metadata"]["name"])
        if known is None and self._view.crds_served.is_set():
            known = await self._kube.request("POST", crds.CILIUM_NODES, crds.cilium_node(node))
            self._view.cilium_nodes.put_answer(known)
        # Without the CRDs: a new operator makes them, and then has every node looked at.
        return known is not None and bool(pod_cidrs(known))
