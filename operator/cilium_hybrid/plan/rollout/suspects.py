"""The nodes that a rollout may have restarted before its record was lost: any of them may be a canary that fails."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from cilium_hybrid.api.upgrade import RolloutStrategy
from cilium_hybrid.plan.record import RestartedNode
from cilium_hybrid.plan.rollout.nodes import Member, Members
from cilium_hybrid.plan.rollout.plan import RolloutInput
from cilium_hybrid.plan.rollout.timers import restarted_node

_MOST: Final = 100
"""If more nodes run the configuration, those that began with it have settled."""


def suspects(rollout: RolloutInput, members: Members) -> Mapping[str, RestartedNode]:
    """Return the nodes that must be Ready for the soak time, as canaries, before another one is restarted.

    There are none if nothing was lost, if nothing is left to restart, or if the revision is not judged.
    """
    gated = rollout.settings.strategy is RolloutStrategy.GATED
    if not (rollout.suspects_due and rollout.judged and gated and any(member.outdated for member in members.values())):
        return {}
    found = [member for member in members.values() if _may_have_been_restarted(rollout, member)]
    found.sort(key=_most_telling_first)
    return {member.name: _suspect(rollout, member) for member in found[:_MOST]}


def _may_have_been_restarted(rollout: RolloutInput, member: Member) -> bool:
    if member.agent is not None:
        return not member.outdated
    unplaced = rollout.observation.unplaced_pods.get(member.name)
    return bool(member.terminating) or (unplaced is not None and unplaced.config_digest == rollout.digest)


def _most_telling_first(member: Member) -> tuple[bool, float]:
    """Nodes without an agent come first, then those that are not Ready, then the youngest agents."""
    if member.agent is None:
        return False, -math.inf
    created_at = member.agent.created_at
    return member.ready, 0.0 if created_at is None else -created_at.timestamp()


def _suspect(rollout: RolloutInput, member: Member) -> RestartedNode:
    agent = member.agent
    # How often its container exited before is no sign of anything.
    exits = 0 if agent is None else agent.exits
    return replace(
        restarted_node(rollout.observation, member.node, None, healthy=False),
        pod_uid=min(member.terminating, default=""),
        new_pod_uid="" if agent is None else agent.uid,
        exits=exits,
        ignored_exits=exits,
        group=member.group,
        canary=True,
        suspect=True,
    )
