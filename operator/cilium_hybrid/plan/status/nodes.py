"""The truth about each hybrid node: which leg it fails, by root cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cilium_hybrid.api.status import MAX_UNREADY, Nodes, UnreadyNode, UnreadyReason
from cilium_hybrid.plan.observation import AgentPod, CiliumNode, HybridNode, Observation
from cilium_hybrid.rules.text import list_names

JOINING_GRACE: Final = timedelta(minutes=2)

# What is nobody's fault but the line's or the kubelet's comes last.
_WORST_FIRST: Final = (
    UnreadyReason.AGENT_NOT_READY,
    UnreadyReason.NO_POD_CIDR,
    UnreadyReason.VERSION,
    UnreadyReason.AGENT_TAINT_PRESENT,
    UnreadyReason.NODE_NOT_READY,
    UnreadyReason.NODE_DISCONNECTED,
)
_NOT_OF_CILIUM: Final = frozenset({UnreadyReason.NODE_DISCONNECTED, UnreadyReason.NODE_NOT_READY})
_CAUSES_TOLD: Final = 3

Since = Mapping[tuple[str, UnreadyReason], datetime]


@dataclass(frozen=True, slots=True)
class NodeReadiness:
    """All hybrid nodes judged; `failing` holds every node that fails a leg, worst first."""

    total: int
    agents_ready: int
    up_to_date: int
    failing: tuple[UnreadyNode, ...]

    @property
    def disconnected(self) -> int:
        """How many do not report."""
        return sum(node.reason is UnreadyReason.NODE_DISCONNECTED for node in self.failing)

    @property
    def connected_failing(self) -> tuple[UnreadyNode, ...]:
        """Those that report, and fail."""
        return tuple(node for node in self.failing if node.reason is not UnreadyReason.NODE_DISCONNECTED)

    @property
    def since(self) -> Since:
        """When each failing node was first seen to fail its leg; the next pass's memory."""
        return {(node.name, node.reason): node.since for node in self.failing}

    def fault_of_cilium(self, now: datetime) -> tuple[UnreadyNode, ...]:
        """Failing nodes that Cilium answers for, and that had their two minutes."""
        return tuple(n for n in self.failing if n.reason not in _NOT_OF_CILIUM and n.since + JOINING_GRACE <= now)

    def grace_ends(self, now: datetime) -> datetime | None:
        """When the next of the joining nodes has had its two minutes; None where none is joining."""
        ends = [n.since + JOINING_GRACE for n in self.failing if n.reason not in _NOT_OF_CILIUM]
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
            unready_reasons={
                reason: count
                for reason in _WORST_FIRST
                if (count := sum(node.reason is reason for node in self.failing))
            },
            summary=f"{ready}/{self.total}",
            unready=self.failing[:MAX_UNREADY],
        )


def evaluate_nodes(observation: Observation, config_digest: str | None, since: Since, now: datetime) -> NodeReadiness:
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
        verdict = _unready_reason(node, agent, cilium_node, current, observation.unplaced.get(name, ""))
        if verdict is not None:
            reason, message = verdict
            first_seen = since.get((name, reason), now)
            failing.append(UnreadyNode(name=name, reason=reason, message=message, since=first_seen))
    failing.sort(key=lambda node: (_WORST_FIRST.index(node.reason), node.name))
    return NodeReadiness(len(observation.nodes), agents_ready, up_to_date, tuple(failing))


def named(failing: Sequence[UnreadyNode]) -> str:
    """The failing nodes in one line: those of one leg and cause as one, the worst causes first."""
    causes: dict[tuple[UnreadyReason, str], list[str]] = {}
    for node in failing:
        causes.setdefault((node.reason, node.message), []).append(node.name)
    # What most nodes suffer from first; names settle the rest, so that the line stands still.
    ordered = sorted(causes.items(), key=lambda item: (_WORST_FIRST.index(item[0][0]), -len(item[1]), item[1]))
    told = [f"{list_names(names)} ({reason}: {message})" for (reason, message), names in ordered[:_CAUSES_TOLD]]
    others = sum(len(names) for _, names in ordered[_CAUSES_TOLD:])
    return ", ".join(told) + (f" and {others} more" if others else "")


def _unready_reason(
    node: HybridNode, agent: AgentPod | None, cilium_node: CiliumNode | None, current: bool, unplaced: str
) -> tuple[UnreadyReason, str] | None:
    if node.ready == "Unknown":
        return UnreadyReason.NODE_DISCONNECTED, "the node does not report to the API server"
    if agent is None:
        return UnreadyReason.AGENT_NOT_READY, _no_agent(node, unplaced)
    missing = "" if cilium_node is None else _no_block(cilium_node)
    if failure_message := agent.failure_message or agent.crash_message:
        return UnreadyReason.AGENT_NOT_READY, f"{failure_message}; {missing}" if missing else failure_message
    if missing:
        return UnreadyReason.NO_POD_CIDR, missing
    if not agent.ready:
        return UnreadyReason.AGENT_NOT_READY, "the agent is starting"
    if node.ready != "True":
        return UnreadyReason.NODE_NOT_READY, node.message or "kubelet reports NotReady"
    if not current:
        return UnreadyReason.VERSION, "the agent runs an older configuration"
    if node.agent_taint:
        return UnreadyReason.AGENT_TAINT_PRESENT, "taint node.cilium.io/agent-not-ready is still there"
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
