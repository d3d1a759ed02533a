"""What the stand-in knows of the cluster, and which nodes have to be looked at when it changes."""

import asyncio
from collections import defaultdict

from testbed.cilium.crds import CILIUM_NODES
from testbed.cilium.ipam import Blocks
from testbed.cilium.kube import Kube, Object, Queue, Watched
from testbed.nodes import CONNECTED, KUBELET

PODS = "/api/v1/namespaces/kube-system/pods"
NODES = "/api/v1/nodes"
AGENT_LABELS = "k8s-app=cilium"
OPERATOR_LABELS = "io.cilium/app=operator,name=cilium-operator"
VALIDATOR_LABELS = "k8s-app=cilium-pre-flight-check-deployment"


class View:
    """The nodes, the pods of Cilium and the CiliumNodes, as last seen."""

    def __init__(self, queue: Queue) -> None:
        self.nodes = Watched(self._node_changed)
        self.agents = Watched(self._agent_changed)
        self.operators = Watched(self._operator_changed)
        self.validators = Watched(self._validator_changed)
        self.cilium_nodes = Watched(self._cilium_node_changed)
        self.blocks = Blocks()
        # Nodes that asked for a block when there was none.
        self.unserved: set[str] = set()
        # Set while the API server serves CiliumNodes.
        self.crds_served = asyncio.Event()
        self._queue = queue
        self._agents_of: defaultdict[str, set[str]] = defaultdict(set)
        self._home: dict[str, str] = {}

    def start(self, kube: Kube, tasks: asyncio.TaskGroup) -> None:
        """Keep everything up to date for ever."""
        tasks.create_task(kube.follow(NODES, self.nodes))
        tasks.create_task(kube.follow(PODS, self.agents, labels=AGENT_LABELS))
        tasks.create_task(kube.follow(PODS, self.operators, labels=OPERATOR_LABELS))
        tasks.create_task(kube.follow(PODS, self.validators, labels=VALIDATOR_LABELS))
        tasks.create_task(kube.follow(CILIUM_NODES, self.cilium_nodes, served=self.crds_served))

    def agent_on(self, node: str) -> Object | None:
        """Return the agent pod that lives on a node, the newest if there are several."""
        pods = (self.agents.objects[name] for name in self._agents_of[node])
        living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return max(living, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

    def connected(self, node: str) -> bool:
        """Whether the node is there and its kubelet reaches the API server."""
        thing = self.nodes.objects.get(node)
        return thing is not None and thing["metadata"]["labels"].get(KUBELET) == CONNECTED

    def look_at_all(self) -> None:
        """Have every node looked at, and every CiliumNode whose node may be gone."""
        for name in self.nodes.objects.keys() | self.cilium_nodes.objects.keys():
            self._queue.add(f"node/{name}")

    def _node_changed(self, name: str) -> None:
        self._queue.add(f"node/{name}")
        # With a node that is lost, the operator pod on it loses the lead.
        self._queue.add("election")
        for validator in self.validators.objects:
            self._validator_changed(validator)

    def _agent_changed(self, name: str) -> None:
        pod = self.agents.objects.get(name)
        if pod is None:
            if node := self._home.pop(name, None):
                self._agents_of[node].discard(name)
                self._queue.add(f"node/{node}")
        elif node := pod["spec"].get("nodeName"):
            self._home[name] = node
            self._agents_of[node].add(name)
            self._queue.add(f"node/{node}")

    def _operator_changed(self, name: str) -> None:
        self._queue.add(f"operator/{name}")
        self._queue.add("election")

    def _validator_changed(self, name: str) -> None:
        self._queue.add(f"validator/{name}")

    def _cilium_node_changed(self, name: str) -> None:
        thing = self.cilium_nodes.objects.get(name)
        if thing is None:
            self.blocks.free(name)
            for waiting in self.unserved:
                self._queue.add(f"node/{waiting}")
        elif cidrs := pod_cidrs(thing):
            self.blocks.set(name, cidrs)
        self._queue.add(f"node/{name}")


def pod_cidrs(cilium_node: Object) -> list[str]:
    """Return the blocks of a CiliumNode."""
    cidrs: list[str] = cilium_node.get("spec", {}).get("ipam", {}).get("podCIDRs", [])
    return cidrs
