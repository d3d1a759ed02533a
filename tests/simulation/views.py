"""What watches show: each process sees the states of the cluster with a lag of its own, kind by kind."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cilium_hybrid.plan.observation import (
    AGENT_TAINT,
    CORDONED,
    AgentPod,
    ForeignObject,
    ForeignPod,
    HybridNode,
    NodeConfigOverride,
    Observation,
    PreflightObservation,
    UnplacedAgent,
)
from cilium_hybrid.rules.cluster_facts import parse_address_ranges
from simulation.objects import Node

KINDS: Final = (
    "agent_set",
    "cilium_nodes",
    "config",
    "nodes",
    "operator",
    "others",
    "pods",
    "preflight",
    "record",
    "revisions",
    "sandboxes",
)
"""The kinds of objects that are watched, each by a watch of its own."""
KEPT_STATES: Final = 40


@dataclass(frozen=True, slots=True)
class PodsState:
    """All agent pods, and why there are not more."""

    agents: Mapping[str, AgentPod] = field(default_factory=dict)
    terminating: Mapping[str, frozenset[str]] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()
    unplaced: Mapping[str, UnplacedAgent] = field(default_factory=dict)
    create_failure: str = ""


@dataclass(frozen=True, slots=True)
class OthersState:
    """What is not the operator's."""

    pods: tuple[ForeignPod, ...] = ()
    objects: tuple[ForeignObject, ...] = ()
    node_configs: tuple[NodeConfigOverride, ...] = ()


class Store:
    """The last states of each kind, which never change."""

    def __init__(self) -> None:
        self._states: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self._dropped: dict[str, int] = dict.fromkeys(KINDS, 0)

    def put(self, kind: str, state: Any) -> bool:
        """Add the present state of a kind, and return whether it is another one."""
        states = self._states[kind]
        if states and states[-1] == state:
            return False
        states.append(state)
        if len(states) > KEPT_STATES:
            del states[0]
            self._dropped[kind] += 1
        return True

    def latest(self, kind: str) -> int:
        """Return the number of the present state."""
        return self._dropped[kind] + len(self._states[kind]) - 1

    def get(self, kind: str, number: int) -> Any:
        """Return a state; the oldest one that is kept if it is older."""
        return self._states[kind][max(number - self._dropped[kind], 0)]


class View:
    """The watches of one process.

    A stalled watch shows an old state until a time, and then either the present one, or one further state a second. A
    lost watch is known to be stalled.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shown = {kind: store.latest(kind) for kind in KINDS}
        self._stalled: dict[str, float] = {}
        self._slow: set[str] = set()
        self.lost: dict[str, float] = {}
        self._cached: Observation | None = None

    def stall(self, kind: str, until: float, *, skip: bool, lost: bool) -> None:
        """Stall a watch."""
        self._stalled[kind] = until
        if not skip:
            self._slow.add(kind)
        if lost:
            self.lost[kind] = until
            self._cached = None

    def deliver(self, now: float) -> bool:
        """Show what the watches deliver now, and return whether anything changed."""
        changed = False
        for kind in KINDS:
            changed = self._deliver(kind, now) or changed
        if changed:
            self._cached = None
        return changed

    def _deliver(self, kind: str, now: float) -> bool:
        shown, latest = self._shown[kind], self._store.latest(kind)
        if self._stalled and self._stalled.get(kind, 0.0) > now:
            return False
        ended = self.lost.pop(kind, None) is not None if self.lost else False
        if self._stalled:
            self._stalled.pop(kind, None)
        if shown == latest:
            self._slow.discard(kind)
            return ended
        self._shown[kind] = shown + 1 if kind in self._slow else latest
        return True

    def wait_for(self, kind: str, now: float, patience: float) -> bool:
        """Wait until a watch shows a write of this process, unless it stalls for longer than the patience."""
        if self._stalled.get(kind, 0.0) > now + patience:
            return False
        self._shown[kind] = self._store.latest(kind)
        self._cached = None
        return True

    @property
    def next_at(self) -> float:
        """When a stalled watch delivers again; infinite if none is stalled."""
        return min(self._stalled.values(), default=float("inf"))

    @property
    def behind(self) -> bool:
        """Whether a watch that is not stalled has more to deliver."""
        return any(self._shown[kind] != self._store.latest(kind) for kind in self._slow if kind not in self._stalled)

    def is_fresh(self, nodes: Collection[str]) -> bool:
        """Whether these nodes and their agents are shown as they are."""
        shown, now = self.observe(), self._store
        real_nodes, real_pods = (now.get(kind, now.latest(kind)) for kind in ("nodes", "pods"))
        return all(
            shown.nodes.get(name) == real_nodes.get(name) and shown.agents.get(name) == real_pods.agents.get(name)
            for name in nodes
        )

    def observe(self) -> Observation:
        """Return the cluster as the watches show it."""
        if self._cached is None:
            self._cached = self._build()
        return self._cached

    def _build(self) -> Observation:
        get = {kind: self._store.get(kind, self._shown[kind]) for kind in KINDS}
        pods: PodsState = get["pods"]
        others: OthersState = get["others"]
        agent_set, operator = get["agent_set"], get["operator"]
        return Observation(
            revisions=get["revisions"],
            record=get["record"][0],
            pool=get["config"],
            agent_set=agent_set,
            cilium_operator=operator,
            nodes=get["nodes"],
            agents=pods.agents,
            unplaced={name: found.cause for name, found in pods.unplaced.items()},
            unplaced_pods=pods.unplaced,
            cilium_nodes=get["cilium_nodes"],
            foreign_pods=others.pods,
            nodes_with_agent_pods=pods.nodes,
            preflight=get["preflight"] or PreflightObservation(),
            edits=(agent_set and agent_set.generation,),
            terminating_agents=pods.terminating,
            agent_create_failure=pods.create_failure,
            sandbox_failures=get["sandboxes"],
            foreign_objects=others.objects,
            node_configs=others.node_configs,
            lost_watches=tuple(f"watch of {kind}: lost" for kind in sorted(self.lost)),
        )


def node_fact(node: Node) -> HybridNode:
    """Return what the API server shows of a node."""
    taints = (*((AGENT_TAINT,) if node.tainted else ()), *((CORDONED,) if node.cordoned else ()))
    address = f"10.80.0.{node.index}"
    return HybridNode(
        name=node.name,
        ready=node.ready,
        message="" if node.ready == "True" else "kubelet: not ready",
        kernel=node.kernel,
        addresses=parse_address_ranges([(f"address of node {node.name}", address)]),
        labels={"topology.kubernetes.io/zone": node.zone, "example.com/rack": f"rack-{node.index % 2}"},
        taints=taints,
        max_pods=110,
        uid=node.uid,
        boot_id=node.boot_id,
        kubelet="v1.33.1",
        runtime="containerd://2.0.1",
        clock_skew=node.skew,
    )
