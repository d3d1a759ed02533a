"""The state of the cluster as the stand-in observes it, and the keys that are queued when it changes."""

import asyncio
from collections import defaultdict

from testbed.cilium.crds import CILIUM_NODES
from testbed.cilium.ipam import Blocks
from testbed.cilium.kube import KubeClient, Object, Queue, Store
from testbed.nodes import CONNECTED, KUBELET

PODS = "/api/v1/namespaces/kube-system/pods"
NODES = "/api/v1/nodes"
AGENT_LABELS = "k8s-app=cilium"
OPERATOR_LABELS = "io.cilium/app=operator,name=cilium-operator"
VALIDATOR_LABELS = "k8s-app=cilium-pre-flight-check-deployment"


class ClusterState:
    """The nodes, the pods of Cilium and the CiliumNodes, kept up to date by watches."""

    def __init__(self, queue: Queue) -> None:
        self.nodes = Store(self._node_changed)
        self.agents = Store(self._agent_changed)
        self.operators = Store(self._operator_changed)
        self.validators = Store(self._validator_changed)
        self.cilium_nodes = Store(self._cilium_node_changed)
        self.blocks = Blocks()
        # Nodes that wait for a block because the pools are exhausted.
        self.waiting_nodes: set[str] = set()
        # Set while the API server serves CiliumNodes.
        self.crds_served = asyncio.Event()
        self._queue = queue
        self._agents_by_node: defaultdict[str, set[str]] = defaultdict(set)
        self._node_of_agent: dict[str, str] = {}

    def start(self, client: KubeClient, tasks: asyncio.TaskGroup) -> None:
        """Start the watches."""
        tasks.create_task(client.follow(NODES, self.nodes))
        tasks.create_task(client.follow(PODS, self.agents, labels=AGENT_LABELS))
        tasks.create_task(client.follow(PODS, self.operators, labels=OPERATOR_LABELS))
        tasks.create_task(client.follow(PODS, self.validators, labels=VALIDATOR_LABELS))
        tasks.create_task(client.follow(CILIUM_NODES, self.cilium_nodes, served=self.crds_served))

    def agent_on(self, node: str) -> Object | None:
        """Return the newest agent pod on a node that is not terminating, None if there is none."""
        pods = (self.agents.objects[name] for name in self._agents_by_node[node])
        running = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return max(running, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

    def connected(self, node: str) -> bool:
        """Whether the node exists and its kubelet is connected."""
        found = self.nodes.objects.get(node)
        return found is not None and found["metadata"]["labels"].get(KUBELET) == CONNECTED

    def requeue_all(self) -> None:
        """Queue every node, and every CiliumNode because its node may have been deleted."""
        for name in self.nodes.objects.keys() | self.cilium_nodes.objects.keys():
            self._queue.add(f"node/{name}")

    def _node_changed(self, name: str) -> None:
        self._queue.add(f"node/{name}")
        # An operator pod on a disconnected node loses the leadership.
        self._queue.add("election")
        for validator in self.validators.objects:
            self._validator_changed(validator)

    def _agent_changed(self, name: str) -> None:
        pod = self.agents.objects.get(name)
        if pod is None:
            if node := self._node_of_agent.pop(name, None):
                self._agents_by_node[node].discard(name)
                self._queue.add(f"node/{node}")
        elif node := pod["spec"].get("nodeName"):
            self._node_of_agent[name] = node
            self._agents_by_node[node].add(name)
            self._queue.add(f"node/{node}")

    def _operator_changed(self, name: str) -> None:
        self._queue.add(f"operator/{name}")
        self._queue.add("election")

    def _validator_changed(self, name: str) -> None:
        self._queue.add(f"validator/{name}")

    def _cilium_node_changed(self, name: str) -> None:
        cilium_node = self.cilium_nodes.objects.get(name)
        if cilium_node is None:
            self.blocks.free(name)
            for node in self.waiting_nodes:
                self._queue.add(f"node/{node}")
        elif cidrs := pod_cidrs(cilium_node):
            self.blocks.set(name, cidrs)
        self._queue.add(f"node/{name}")


def pod_cidrs(cilium_node: Object) -> list[str]:
    """Return the blocks of a CiliumNode."""
    cidrs: list[str] = cilium_node.get("spec", {}).get("ipam", {}).get("podCIDRs", [])
    return cidrs
