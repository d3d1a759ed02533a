"""The readiness of each hybrid node: why it is not ready, by root cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cilium_hybrid.api.status import MAX_UNREADY, Nodes, UnreadyNode, UnreadyReason
from cilium_hybrid.plan.inputs import OUTDATED, Since
from cilium_hybrid.plan.observation import AgentPod, CiliumNode, HybridNode, Observation
from cilium_hybrid.rules.text import list_names

JOINING_GRACE: Final = timedelta(minutes=2)
"""How long a node that joins, or stops being ready, may take before `Ready` turns False."""

_MOST_SEVERE_FIRST: Final = (
    UnreadyReason.AGENT_NOT_READY,
    UnreadyReason.NO_POD_CIDR,
    UnreadyReason.AGENT_TAINT_PRESENT,
    UnreadyReason.NODE_NOT_READY,
    UnreadyReason.NODE_DISCONNECTED,
)
_NOT_CAUSED_BY_CILIUM: Final = frozenset({UnreadyReason.NODE_DISCONNECTED, UnreadyReason.NODE_NOT_READY})
_NO_NETWORK: Final = "NetworkReady=false"
"""In the kubelet's message for a node without a CNI; source: k8s.io/kubernetes/pkg/kubelet/kubelet.go."""
_MAX_CAUSES: Final = 3


@dataclass(frozen=True, slots=True)
class NodeReadiness:
    """The readiness of all hybrid nodes.

    `up_to_date` is the number of nodes whose agent has the deployed configuration. `unready` are all nodes
    that are not ready, most severe reasons first. `outdated_since` are the healthy nodes whose agent runs an outdated
    configuration, with the time when that was first observed.
    """

    total: int
    agents_ready: int
    up_to_date: int
    unready: tuple[UnreadyNode, ...]
    outdated_since: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def disconnected(self) -> int:
        """The number of nodes that do not report."""
        return sum(node.reason is UnreadyReason.NODE_DISCONNECTED for node in self.unready)

    @property
    def connected_unready(self) -> tuple[UnreadyNode, ...]:
        """The nodes that report and are not ready."""
        return tuple(node for node in self.unready if node.reason is not UnreadyReason.NODE_DISCONNECTED)

    @property
    def outdated(self) -> tuple[str, ...]:
        """The names of the healthy nodes whose agent runs an outdated configuration."""
        return tuple(self.outdated_since)

    @property
    def since(self) -> Since:
        """Since when each node has been unready or outdated; the next reconciliation needs it."""
        unready: Since = {(node.name, node.reason): node.since for node in self.unready}
        return {**unready, **{(name, OUTDATED): since for name, since in self.outdated_since.items()}}

    def caused_by_cilium(self, now: datetime) -> tuple[UnreadyNode, ...]:
        """Return the unready nodes whose reason is Cilium's fault and whose grace period is over."""
        by_cilium = (node for node in self.unready if node.reason not in _NOT_CAUSED_BY_CILIUM)
        return tuple(node for node in by_cilium if node.since + JOINING_GRACE <= now)

    def outdated_past_grace(self, now: datetime) -> tuple[str, ...]:
        """Return the outdated nodes whose grace period is over."""
        return tuple(name for name, since in self.outdated_since.items() if since + JOINING_GRACE <= now)

    def grace_ends_at(self, now: datetime) -> datetime | None:
        """Return when the next grace period ends, None if no node is within one."""
        since = [node.since for node in self.unready if _may_be_joining(node)]
        ends = [moment + JOINING_GRACE for moment in (*since, *self.outdated_since.values())]
        return min((end for end in ends if end > now), default=None)

    def to_status(self) -> Nodes:
        """Return `status.nodes`: the counts, and at most ten unready nodes."""
        ready = self.total - len(self.unready)
        return Nodes(
            total=self.total,
            ready=ready,
            agents_ready=self.agents_ready,
            up_to_date=self.up_to_date,
            disconnected=self.disconnected,
            unready_reasons={
                reason: count
                for reason in _MOST_SEVERE_FIRST
                if (count := sum(node.reason is reason for node in self.unready))
            },
            summary=f"{ready}/{self.total}",
            updated=f"{self.up_to_date}/{self.total}",
            unready=self.unready[:MAX_UNREADY],
        )


def _may_be_joining(node: UnreadyNode) -> bool:
    """Whether the node waits for Cilium. The kubelet detects the CNI only a moment after the agent is Ready."""
    return node.reason not in _NOT_CAUSED_BY_CILIUM or _NO_NETWORK in node.message


def evaluate_nodes(observation: Observation, config_digest: str | None, since: Since, now: datetime) -> NodeReadiness:
    """Evaluate every hybrid node; `config_digest` is the configuration that its agent should run.

    `since` is what the previous evaluation returned; what is not in it begins `now`.
    """
    unready: list[UnreadyNode] = []
    outdated_since: dict[str, datetime] = {}
    agents_ready = up_to_date = 0
    for name, node in sorted(observation.nodes.items()):
        agent, cilium_node = observation.agents.get(name), observation.cilium_nodes.get(name)
        agents_ready += agent is not None and agent.ready
        current = agent is not None and agent.config_digest == config_digest
        # As in a DaemonSet: a disconnected node counts if its pod is up to date.
        up_to_date += current
        found = _unready_reason(node, agent, cilium_node, observation.unplaced.get(name, ""))
        if found is not None:
            reason, message = found
            first_seen = since.get((name, reason), now)
            unready.append(UnreadyNode(name=name, reason=reason, message=message, since=first_seen))
        elif not current:
            outdated_since[name] = since.get((name, OUTDATED), now)
    unready.sort(key=lambda node: (_MOST_SEVERE_FIRST.index(node.reason), node.name))
    return NodeReadiness(len(observation.nodes), agents_ready, up_to_date, tuple(unready), outdated_since)


def describe_unready(unready: Sequence[UnreadyNode]) -> str:
    """Return the unready nodes in one line: grouped by reason and cause, most severe reasons first."""
    causes: dict[tuple[UnreadyReason, str], list[str]] = {}
    for node in unready:
        causes.setdefault((node.reason, node.message), []).append(node.name)
    # Within a reason, the cause with the most nodes comes first. Sorting by name last keeps the line stable.
    ordered = sorted(causes.items(), key=lambda item: (_MOST_SEVERE_FIRST.index(item[0][0]), -len(item[1]), item[1]))
    shown = [f"{list_names(names)} ({reason}: {message})" for (reason, message), names in ordered[:_MAX_CAUSES]]
    others = sum(len(names) for _, names in ordered[_MAX_CAUSES:])
    return ", ".join(shown) + (f" and {others} more" if others else "")


def _unready_reason(
    node: HybridNode, agent: AgentPod | None, cilium_node: CiliumNode | None, unplaced: str
) -> tuple[UnreadyReason, str] | None:
    if node.ready == "Unknown":
        return UnreadyReason.NODE_DISCONNECTED, "node does not report to the API server"
    if agent is None:
        return UnreadyReason.AGENT_NOT_READY, _no_agent(node, unplaced)
    cidr_error = "" if cilium_node is None else _cidr_error(cilium_node)
    if failure_message := agent.failure_message or agent.crash_message:
        return UnreadyReason.AGENT_NOT_READY, f"{failure_message}; {cidr_error}" if cidr_error else failure_message
    if cidr_error:
        return UnreadyReason.NO_POD_CIDR, cidr_error
    if not agent.ready:
        return UnreadyReason.AGENT_NOT_READY, "agent is starting"
    if node.ready != "True":
        return UnreadyReason.NODE_NOT_READY, node.message or "kubelet reports NotReady"
    if node.agent_taint:
        return UnreadyReason.AGENT_TAINT_PRESENT, "taint node.cilium.io/agent-not-ready not removed yet"
    return None


def _no_agent(node: HybridNode, unplaced: str) -> str:
    if unplaced:
        return f"agent pod cannot be scheduled on the node: {unplaced}"
    leftover = "; the node is Ready because of leftover CNI files" if node.ready == "True" else ""
    return f"no Cilium agent pod on the node{leftover}"


def _cidr_error(cilium_node: CiliumNode) -> str:
    if not cilium_node.pod_cidrs:
        return f"no pod CIDR: {cilium_node.error or 'not allocated yet'}"
    return f"pod CIDR error: {cilium_node.error}" if cilium_node.error else ""
