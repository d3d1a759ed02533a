"""The nodes as a rollout sees them: connected, healthy or ill, outdated or updated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.plan.observation import AgentPod, HybridNode, Observation
from cilium_hybrid.plan.record import RestartedNode
from cilium_hybrid.plan.rollout.plan import RolloutInput
from cilium_hybrid.rules.text import list_names

ILL_AFTER: Final = 120.0
"""Seconds after which an agent that is not Ready counts as ill; until then it may only have lost contact."""
_MAX_CAUSE: Final = 120
"""In characters, of what the cluster says about one node."""


@dataclass(frozen=True, slots=True)
class Member:
    """A hybrid node and its agent, which is None while there is no pod, or only a terminating one.

    `terminating` are the UIDs of its terminating agent pods. `unready_for`: for how many seconds the agent has not been
    Ready; None if it is, or if the node is disconnected. `own`: this operator runs on the node.
    """

    node: HybridNode
    agent: AgentPod | None
    terminating: frozenset[str]
    group: str
    outdated: bool
    unready_for: float | None
    own: bool

    @property
    def name(self) -> str:
        """The name of the node."""
        return self.node.name

    @property
    def connected(self) -> bool:
        """Whether the node reports to the API server."""
        return self.node.ready != "Unknown"

    @property
    def ready(self) -> bool:
        """Whether the node is connected and its agent Ready."""
        return self.unready_for is None and self.connected

    @property
    def updated(self) -> bool:
        """Whether the agent is Ready with the released configuration."""
        return self.ready and not self.outdated

    @property
    def ill(self) -> bool:
        """Whether the agent is not Ready for longer, or for another reason, than if it had only lost contact."""
        if self.unready_for is None:
            return False
        fails = self.agent is not None and (self.agent.is_crash_looping or self.agent.image_failing)
        return fails or self.unready_for >= ILL_AFTER

    @property
    def unsettled(self) -> bool:
        """Whether the node is connected, and neither healthy nor ill."""
        return self.unready_for is not None and not self.ill


Members = Mapping[str, Member]


def members_of(rollout: RolloutInput) -> Members:
    """Return all hybrid nodes by name, in the order of their names."""
    observation, group_by = rollout.observation, rollout.settings.group_by
    members = {}
    for name in sorted(observation.nodes):
        node, agent = observation.nodes[name], observation.agents.get(name)
        unready = node.ready != "Unknown" and (agent is None or not agent.ready)
        members[name] = Member(
            node=node,
            agent=agent,
            terminating=observation.terminating_agents.get(name, frozenset()),
            group=node.labels.get(group_by, ""),
            outdated=agent is not None and agent.config_digest != rollout.digest,
            unready_for=rollout.unready_for.get(name, 0.0) if unready else None,
            own=name == rollout.own_node,
        )
    return members


def old_pod_stands(member: Member, restarted: RestartedNode) -> bool:
    """Whether the pod that the restart ends is still there, and not terminating."""
    return member.agent is not None and member.agent.uid == restarted.pod_uid


def has_happened(member: Member, restarted: RestartedNode) -> bool:
    """Whether the pod that the restart ends is gone."""
    return not old_pod_stands(member, restarted) and restarted.pod_uid not in member.terminating


def is_set_aside(member: Member, restarted: RestartedNode | None, progress_deadline: float) -> bool:
    """Whether the rollout neither waits for the node nor counts it: it is ill, but not because of a restart."""
    if member.unready_for is None or member.unready_for < progress_deadline:
        return False
    return restarted is None or not restarted.awaited


def cause_of(member: Member, observation: Observation, longest: int = _MAX_CAUSE) -> str:
    """Return why the agent of a node is not Ready, in the cluster's own words where it has any, of limited length."""
    agent = member.agent
    if not member.connected:
        return "node does not report to the API server"
    if agent is None and member.terminating:
        return "agent pod is still terminating"
    if agent is None:
        cause = observation.unplaced.get(member.name) or observation.agent_create_failure or "no agent pod"
    else:
        no_cidr = _no_pod_cidr(observation, member.name)
        starting = "started but not Ready" if agent.started else "agent is starting"
        words = agent.failure_message or agent.crash_message
        cause = "; ".join(filter(None, [words, no_cidr])) or starting
    return shortened(cause, longest)


def _no_pod_cidr(observation: Observation, name: str) -> str:
    """Return why the node has no pod CIDR, without which no agent gets Ready; empty if that is not known."""
    cilium_node = observation.cilium_nodes.get(name)
    if cilium_node is None or cilium_node.pod_cidrs or not cilium_node.error:
        return ""
    return f"NoPodCIDR: no pod CIDR: {cilium_node.error}"


def shortened(cause: str, longest: int = _MAX_CAUSE) -> str:
    """Return a cause that fits into a message."""
    return cause if len(cause) <= longest else f"{cause[: longest - 1]}…"


def list_causes(members: Sequence[Member], observation: Observation) -> str:
    """Return the names of some nodes, at least one, the first with why its agent is not Ready."""
    first, *others = members
    return list_names([f"{first.name} ({cause_of(first, observation)})", *(member.name for member in others)])
