"""The part of Cilium's agents: ask for a block, get ready, bring the node's network up; or fail as told."""

from testbed.cilium import crds, status
from testbed.cilium.kube import MERGE_PATCH, Kube, Object, Queue
from testbed.cilium.starts import Starts
from testbed.cilium.status import State
from testbed.cilium.view import NODES, PODS, View, pod_cidrs
from testbed.nodes import CNI, CNI_INSTALLED, is_ready


class Agents:
    """Runs the agent of one node at a time, by what the view knows of it."""

    def __init__(self, kube: Kube, view: View, queue: Queue) -> None:
        self._kube = kube
        self._view = view
        self._starts = Starts(queue)

    async def run(self, name: str) -> None:
        """Do what the agent on a node does, and report of it what the kubelet does."""
        node, pod = self._view.nodes.objects.get(name), self._view.agent_on(name)
        if (
            node is None
            or pod is None
            or not self._view.connected(name)
            or not self._starts.started(pod, f"node/{name}")
        ):
            return
        state = status.fault(node, pod)
        if state is None:
            # An agent that was ready goes on without its CiliumNode, and makes it again.
            has_block = await self._has_block(node)
            state = State.READY if has_block or is_ready(pod) else State.STARTING
        restarts = self._starts.restarts(pod, f"node/{name}") if state is State.CRASH else status.restarts(pod)
        expected = status.status(pod, node, state, restarts)
        if not status.says(pod["status"], expected):
            path = f"{PODS}/{pod['metadata']['name']}/status"
            answer = await self._kube.request("PATCH", path, {"status": expected}, kind=MERGE_PATCH)
            self._view.agents.put_answer(answer)
        if state is State.READY and node["metadata"].get("annotations", {}).get(CNI) != CNI_INSTALLED:
            # The agent writes the CNI's configuration; the kubelet finds it and turns the node Ready.
            mark = {"metadata": {"annotations": {CNI: CNI_INSTALLED}}}
            await self._kube.request("PATCH", f"{NODES}/{name}", mark, kind=MERGE_PATCH)

    async def _has_block(self, node: Object) -> bool:
        """Ask for the node's block, as the agent does by making its CiliumNode."""
        known = self._view.cilium_nodes.objects.get(node["metadata"]["name"])
        if known is None and self._view.crds_served.is_set():
            known = await self._kube.request("POST", crds.CILIUM_NODES, crds.cilium_node(node))
            self._view.cilium_nodes.put_answer(known)
        # Without the CRDs: a new operator makes them, and then has every node looked at.
        return known is not None and bool(pod_cidrs(known))
