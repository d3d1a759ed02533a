"""The truth about each hybrid node: which leg it fails, by root cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cilium_hybrid.api.status import MAX_UNREADY, Leg, Nodes, UnreadyNode
from cilium_hybrid.plan.observation import AgentPod, CiliumNode, HybridNode, Observation
from cilium_hybrid.plan.wording import some

JOINING_GRACE: Final = timedelta(minutes=2)

# What is nobody's fault but the line's or the kubelet's comes last.
_WORST_FIRST: Final = (Leg.AGENT, Leg.POD_CIDR, Leg.VERSION, Leg.TAINT, Leg.KUBELET, Leg.DISCONNECTED)
_NOT_OF_CILIUM: Final = frozenset({Leg.DISCONNECTED, Leg.KUBELET})
_CAUSES_TOLD: Final = 3

Since = Mapping[tuple[str, Leg], datetime]


@dataclass(frozen=True, slots=True)
class NodesVerdict:
    """All hybrid nodes judged; `failing` holds every node that fails a leg, worst first."""

    total: int
    agents_ready: int
    up_to_date: int
    failing: tuple[UnreadyNode, ...]

    @property
    def disconnected(self) -> int:
        """How many do not report."""
        return sum(node.leg is Leg.DISCONNECTED for node in self.failing)

    @property
    def connected_failing(self) -> tuple[UnreadyNode, ...]:
        """Those that report, and fail."""
        return tuple(node for node in self.failing if node.leg is not Leg.DISCONNECTED)

    @property
    def since(self) -> Since:
        """When each failing node was first seen to fail its leg; the next pass's memory."""
        return {(node.name, node.leg): node.since for node in self.failing}

    def fault_of_cilium(self, now: datetime) -> tuple[UnreadyNode, ...]:
        """Failing nodes that Cilium answers for, and that had their two minutes."""
        return tuple(n for n in self.failing if n.leg not in _NOT_OF_CILIUM and n.since + JOINING_GRACE <= now)

    def grace_ends(self, now: datetime) -> datetime | None:
        """When the next of the joining nodes has had its two minutes; None where none is joining."""
        ends = [n.since + JOINING_GRACE for n in self.failing if n.leg not in _NOT_OF_CILIUM]
        return min((end for end in ends if end > now), default=None)

    def report(self) -> Nodes:
        """The counts and at most ten names, as the status shows them."""
        ready = self.total - len(self.failing)
        return Nodes(
            total=self.total,
            ready=ready,
            agents_ready=self.agents_ready,
            up_to_date=self.up_to_date,
            disconnected=self.disconnected,
            legs={leg: count for leg in _WORST_FIRST if (count := sum(node.leg is leg for node in self.failing))},
            summary=f"{ready}/{self.total}",
            unready=self.failing[:MAX_UNREADY],
        )


def judge_nodes(observation: Observation, config_digest: str | None, since: Since, now: datetime) -> NodesVerdict:
    """Judge every hybrid node against the configuration that its agent shall run.

    `since` is what the verdict before this one remembered; a failure not in it begins `now`.
    """
    failing: list[UnreadyNode] = []
    agents_ready = up_to_date = 0
    for name, node in observation.nodes.items():
        agent, cilium_node = observation.agents.get(name), observation.cilium_nodes.get(name)
        agents_ready += agent is not None and agent.ready
        current = agent is not None and agent.config_digest == config_digest
        up_to_date += current
        verdict = _failing_leg(node, agent, cilium_node, current, observation.unplaced.get(name, ""))
        if verdict is not None:
            leg, message = verdict
            first_seen = since.get((name, leg), now)
            failing.append(UnreadyNode(name=name, leg=leg, message=message, since=first_seen))
    failing.sort(key=lambda node: (_WORST_FIRST.index(node.leg), node.name))
    return NodesVerdict(len(observation.nodes), agents_ready, up_to_date, tuple(failing))


def named(failing: Sequence[UnreadyNode]) -> str:
    """The failing nodes in one line: those of one leg and cause as one, the worst causes first."""
    causes: dict[tuple[Leg, str], list[str]] = {}
    for node in failing:
        causes.setdefault((node.leg, node.message), []).append(node.name)
    # What most nodes suffer from first; names settle the rest, so that the line stands still.
    ordered = sorted(causes.items(), key=lambda item: (_WORST_FIRST.index(item[0][0]), -len(item[1]), item[1]))
    told = [f"{some(names)} ({leg}: {message})" for (leg, message), names in ordered[:_CAUSES_TOLD]]
    others = sum(len(names) for _, names in ordered[_CAUSES_TOLD:])
    return ", ".join(told) + (f" and {others} more" if others else "")


def _failing_leg(
    node: HybridNode, agent: AgentPod | None, cilium_node: CiliumNode | None, current: bool, unplaced: str
) -> tuple[Leg, str] | None:
    if node.ready == "Unknown":
        return Leg.DISCONNECTED, "the node does not report to the API server"
    if agent is None:
        return Leg.AGENT, _no_agent(node, unplaced)
    missing = "" if cilium_node is None else _no_block(cilium_node)
    if trouble := agent.trouble or agent.crash:
        return Leg.AGENT, f"{trouble}; {missing}" if missing else trouble
    if missing:
        return Leg.POD_CIDR, missing
    if not agent.ready:
        return Leg.AGENT, "the agent is starting"
    if node.ready != "True":
        return Leg.KUBELET, node.message or "kubelet reports NotReady"
    if not current:
        return Leg.VERSION, "the agent runs an older configuration"
    if node.agent_taint:
        return Leg.TAINT, "taint node.cilium.io/agent-not-ready is still there"
    return None


def _no_agent(node: HybridNode, unplaced: str) -> str:
    if unplaced:
        return f"the agent's pod has no place on the node: {unplaced}"
    left = ", which is Ready by CNI files that were left on it" if node.ready == "True" else ""
    return f"no Cilium agent pod on the node{left}"


def _no_block(cilium_node: CiliumNode) -> str:
    if not cilium_node.pod_cidrs:
        return f"no block of pod addresses: {cilium_node.error or 'not allocated yet'}"
    return f"its block of pod addresses: {cilium_node.error}" if cilium_node.error else ""
