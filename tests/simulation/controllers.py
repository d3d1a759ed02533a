"""The controllers of the model: the DaemonSet of the agents, Cilium's operator, its IPAM, and garbage collection."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final

from cilium_hybrid.plan.observation import AgentSet, CiliumNode, CiliumOperator, PoolConfig, UnplacedAgent
from simulation.objects import OPERATOR_MEMORY, Badness, Node, Template, Values, limit

if TYPE_CHECKING:
    from simulation.world import World

OPERATOR_START: Final = 5
GARBAGE_COLLECTION: Final = 30
OBSERVED_AFTER: Final = 1


class Controllers:
    """What the objects of the release cause.

    `template` is that of the DaemonSet, None without one. `config` is `cilium-config`. `blocks` are those of the
    CiliumNodes. `quota` is the highest number of agent pods that may be created, None without a limit.
    """

    def __init__(self, world: "World") -> None:
        self._world, self._timeline = world, world.timeline
        self.template: Template | None = None
        self.config: PoolConfig | None = None
        self.blocks: dict[str, tuple[str, ...]] = {}
        self.quota: int | None = None
        self.create_failure = ""
        self.generation = 0
        self.agent_set_observed = True
        self.operator_wanted: tuple[str, Badness] | None = None
        self.operator_current = False
        self.operator_outdated = False
        self.operator_exits = 0
        self.operator_failure = ""
        self.operator_observed = True
        self._operator_rollout = 0
        self._operator_shown_available = False
        self._operator_pools: PoolConfig | None = None
        self._awake = False

    # What Helm does to the objects.

    def apply(self, template: Template, config: PoolConfig | None, operator: Values, version: str) -> None:
        """Write the objects of a revision."""
        if self.template is None or (template.digest, template.version) != (
            self.template.digest,
            self.template.version,
        ):
            self.generation += 1
            self.agent_set_observed = False
            self._timeline.after(OBSERVED_AFTER, self._observe, self.generation)
        self.template = template
        self.config = config
        pods = {key: value for key, value in operator.items() if key != "updateStrategy"}
        key = f"{version} {pods} {config}"
        if self.operator_wanted is None or self.operator_wanted[0] != key:
            bad = OPERATOR_MEMORY.get(limit({"operator": operator}, "operator"), Badness.GOOD)
            self._roll_operator(key, bad)
        self._world.touch("config", "agent_set", "operator")
        self.wake()

    def remove(self) -> None:
        """Delete the objects of the release; CiliumNodes stay."""
        self.template, self.config, self.operator_wanted, self._operator_pools = None, None, None, None
        self._operator_rollout += 1
        self.operator_current = self.operator_outdated = False
        self.create_failure = ""
        self._world.touch("config", "agent_set", "operator", "pods")
        for node in self._world.machines.nodes.values():
            self._world.machines.delete_pending(node)
            for pod in tuple(node.pods):
                self._world.machines.delete_pod(pod)

    def _observe(self, generation: int) -> None:
        if generation == self.generation:
            self.agent_set_observed = True
            self._world.touch("agent_set")

    # Cilium's operator.

    @property
    def operator_available(self) -> bool:
        """Whether a replica of Cilium's operator is available."""
        has_node = any(node.reachable for node in self._world.machines.nodes.values())
        return has_node and (self.operator_current or self.operator_outdated)

    def _roll_operator(self, key: str, badness: Badness) -> None:
        self.operator_outdated = self.operator_current or self.operator_outdated
        self.operator_wanted, self.operator_current = (key, badness), False
        self.operator_exits, self.operator_failure, self.operator_observed = 0, "", False
        self._operator_rollout += 1
        self._timeline.after(OBSERVED_AFTER, self._observe_operator, self._operator_rollout)
        self._timeline.after(OPERATOR_START, self._start_operator, self._operator_rollout)

    def _observe_operator(self, rollout: int) -> None:
        if rollout == self._operator_rollout:
            self.operator_observed = True
            self._world.touch("operator")

    def _start_operator(self, rollout: int) -> None:
        if rollout != self._operator_rollout or self.operator_wanted is None:
            return
        match self.operator_wanted[1]:
            case Badness.CRASH:
                self.operator_exits += 1
                self.operator_failure = "CrashLoopBackOff: exit code 1" if self.operator_exits > 1 else ""
                self._timeline.after(min(10 * 2**self.operator_exits, 160), self._start_operator, rollout)
            case Badness.IMAGE_MISSING:
                self.operator_failure = "ErrImagePull: not found"
            case Badness.NEVER_READY:
                pass
            case _:
                self.operator_current, self.operator_outdated = True, False
                self._operator_pools = self.config
        self._world.touch("operator")
        self.wake()

    # The DaemonSet controller and IPAM.

    def wake(self) -> None:
        """Let the controllers look at the cluster a moment later."""
        if not self._awake:
            self._awake = True
            self._timeline.after(1, self._run)

    def _run(self) -> None:
        self._awake = False
        if not self._world.api_up:
            self._timeline.after(5, self.wake)
            return
        self._sync_daemonset()
        self._allocate()
        if self.operator_available != self._operator_shown_available:
            self._operator_shown_available = self.operator_available
            self._world.touch("operator")

    def _sync_daemonset(self) -> None:
        template = self.template
        if template is None:
            return
        failure = ""
        for node in tuple(self._world.machines.nodes.values()):
            failure = self._sync_node(node, template) or failure
        if failure != self.create_failure:
            self.create_failure = failure
            self._world.touch("pods")
        if template.rolling:
            self._roll_agents(template)

    def _sync_node(self, node: Node, template: Template) -> str:
        """Create, replace or delete the pod of a node, and return why that fails."""
        machines = self._world.machines
        if not node.labelled:
            machines.delete_pending(node)
            for pod in tuple(node.pods):
                machines.delete_pod(pod)
        elif node.pending is not None:
            if template.rolling and node.pending.template.digest != template.digest:
                machines.delete_pending(node)
            machines.schedule(node)
        elif not node.pods:
            count = self.count_pods()
            if self.quota is not None and count >= self.quota:
                return f'pods "cilium-" is forbidden: exceeded quota: agents, used: {count}'
            machines.create_pod(node, template)
        return ""

    def _roll_agents(self, template: Template) -> None:
        """Replace outdated pods as strategy RollingUpdate does: those that are not Ready need no budget."""
        nodes = [node for node in self._world.machines.nodes.values() if node.labelled]
        maximum = template.max_unavailable
        allowed = maximum if isinstance(maximum, int) else -(-int(maximum.removesuffix("%")) * len(nodes) // 100)
        unavailable = sum(node.pod is None or not node.pod.fact.ready for node in nodes)
        for node in nodes:
            pod = node.pod
            if pod is None or pod.fact.config_digest == template.digest:
                continue
            if pod.fact.ready and unavailable >= max(allowed, 1):
                continue
            unavailable += pod.fact.ready
            self._world.ledger.replaced(node, pod, template)
            self._world.machines.delete_pod(pod)

    def register(self, name: str) -> None:
        """Let an agent create the CiliumNode of its node."""
        if name not in self.blocks:
            self.blocks[name] = ()
            self._world.touch("cilium_nodes")
            self.wake()

    def node_deleted(self, name: str) -> None:
        """Collect what belonged to a Node."""
        self._timeline.after(GARBAGE_COLLECTION, self._collect, name)
        self.wake()

    def _collect(self, name: str) -> None:
        if name not in self._world.machines.nodes and self.blocks.pop(name, None) is not None:
            self._world.touch("cilium_nodes")

    def _allocate(self) -> None:
        if not self.operator_available:
            return
        self._world.ledger.runs()
        for node in self._world.machines.nodes.values():
            pod = node.pod
            if node.tainted and pod is not None and pod.fact.ready:
                node.tainted = False
                self._world.touch("nodes")
        if self._operator_pools is None:
            return
        for name, blocks in self.blocks.items():
            if not blocks and (block := self._free_block(self._operator_pools)) is not None:
                self.blocks[name] = (block,)
                self._world.touch("cilium_nodes")
                self._world.machines.check_ready(name)

    def _free_block(self, pools: PoolConfig) -> str | None:
        used = {block for blocks in self.blocks.values() for block in blocks}
        return next((block for block in _blocks(pools) if block not in used), None)

    def count_pods(self) -> int:
        """Return the number of agent pods, which a quota limits."""
        return sum(len(node.pods) + (node.pending is not None) for node in self._world.machines.nodes.values())

    # What the API server shows.

    def agent_set(self) -> AgentSet | None:
        """Return the DaemonSet."""
        if self.template is None:
            return None
        return AgentSet(self.template.digest, self.agent_set_observed, self.generation, self.template.rolling)

    def operator(self) -> CiliumOperator | None:
        """Return the Deployment of Cilium's operator."""
        if self.operator_wanted is None:
            return None
        available = 0 if not self.operator_available else 2 if self.operator_current else 1
        return CiliumOperator(
            replicas=2,
            available=available,
            observed=self.operator_observed,
            current=self.operator_observed and self.operator_current and available > 0,
            exits=self.operator_exits,
            image_failing=self.operator_failure.startswith("ErrImagePull"),
            failure_message=self.operator_failure,
            outdated_available=self.operator_outdated and available > 0,
        )

    def cilium_nodes(self) -> dict[str, CiliumNode]:
        """Return the CiliumNodes."""
        error = "" if self._operator_pools is None else "allocation failed: no free block"
        return {name: CiliumNode(name, found, "" if found else error) for name, found in self.blocks.items()}


def _blocks(pools: PoolConfig) -> Iterator[str]:
    for cidr in pools.pod_cidrs:
        network = IPv4Network(cidr)
        mask = pools.mask_size or 25
        if mask >= network.prefixlen:
            yield from map(str, network.subnets(new_prefix=mask))


def unplaced(node: Node) -> UnplacedAgent | None:
    """Return the agent pod that does not fit on a node, and why."""
    pod = node.pending
    if pod is None:
        return None
    cause = "Unschedulable: 0/1 nodes are available: Insufficient memory"
    return UnplacedAgent(node.name, cause, pod.name, pod.uid, pod.template.digest)
