"""The Cilium agents: install the CNI, request a pod CIDR block and become ready, or fail with an injected fault."""

from testbed.cilium import crds, status
from testbed.cilium.cluster_state import NODES, PODS, ClusterState, pod_cidrs
from testbed.cilium.container_starts import ContainerStarts
from testbed.cilium.kube import MERGE_PATCH, KubeClient, Object, Queue
from testbed.cilium.status import State
from testbed.nodes import CNI, CNI_INSTALLED, is_ready

_FINDS_CRDS = (None, State.NEVER_READY)
"""The faults with which an agent still runs as far as to the CRDs."""


class Agents:
    """Runs the agent of one node at a time."""

    def __init__(self, client: KubeClient, cluster: ClusterState, queue: Queue) -> None:
        self._client = client
        self._cluster = cluster
        self._starts = ContainerStarts(queue)

    async def run(self, name: str) -> None:
        """Do what the agent on a node does, and report its status as the kubelet does."""
        node, pod = self._cluster.nodes.objects.get(name), self._cluster.agent_on(name)
        if (
            node is None
            or pod is None
            or not self._cluster.connected(name)
            or not self._starts.started(pod, f"node/{name}")
        ):
            return
        state = status.fault(node, pod)
        if state in _FINDS_CRDS:
            await self._install_cni(node)
        if state is None:
            # A ready agent stays ready without its CiliumNode, and creates it again.
            has_block = await self._has_block(node)
            ready = is_ready(pod) or (has_block and self._starts.probed(pod, f"node/{name}"))
            state = State.READY if ready else State.STARTING
        if state is State.READY:
            await self._report_addresses(name)
        restarts = self._starts.restarts(pod, f"node/{name}") if state is State.CRASH else status.restarts(pod)
        expected = status.status(pod, node, state, restarts)
        if not status.contains(pod["status"], expected):
            path = f"{PODS}/{pod['metadata']['name']}/status"
            response = await self._client.request("PATCH", path, {"status": expected}, kind=MERGE_PATCH)
            self._cluster.agents.put_response(response)

    async def _install_cni(self, node: Object) -> None:
        """Write the CNI configuration once the CRDs are served; the kubelet then reports the node as Ready."""
        if self._cluster.crds_served.is_set() and node["metadata"].get("annotations", {}).get(CNI) != CNI_INSTALLED:
            patch = {"metadata": {"annotations": {CNI: CNI_INSTALLED}}}
            await self._client.request("PATCH", f"{NODES}/{node['metadata']['name']}", patch, kind=MERGE_PATCH)

    async def _report_addresses(self, name: str) -> None:
        """Add the addresses of the agent and of its health endpoint, which are from the node's block."""
        known = self._cluster.cilium_nodes.objects.get(name)
        if known is not None and "health" not in known["spec"] and pod_cidrs(known):
            patch = {"spec": crds.agent_addresses(known)}
            response = await self._client.request("PATCH", f"{crds.CILIUM_NODES}/{name}", patch, kind=MERGE_PATCH)
            self._cluster.cilium_nodes.put_response(response)

    async def _has_block(self, node: Object) -> bool:
        """Whether the node has a block; an agent requests it by creating its CiliumNode."""
        known = self._cluster.cilium_nodes.objects.get(node["metadata"]["name"])
        if known is None and self._cluster.crds_served.is_set():
            known = await self._client.request("POST", crds.CILIUM_NODES, crds.cilium_node(node))
            self._cluster.cilium_nodes.put_response(known)
        # Without the CRDs there is nothing to do: an operator pod that starts creates them and requeues every node.
        return known is not None and bool(pod_cidrs(known))
