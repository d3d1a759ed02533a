"""What stops a rollout although nothing is evidence against the revision. It resumes when the cause clears."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord
from cilium_hybrid.plan.rollout.groups import Groups
from cilium_hybrid.plan.rollout.nodes import Member, Members, cause_of, has_happened
from cilium_hybrid.plan.rollout.restarted import is_same_machine

NO_POD_GRACE: Final = 30.0
"""Seconds for which a restarted node may have no pod, since the words of the controller may be old."""
_MAX_CAUSE: Final = 240
"""In characters, of what the cluster says about the one node that stops the rollout."""
_MAX_REPLACED: Final = 1
"""How many canaries are replaced in a rollout."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """What stops the rollout.

    `stalled`: why it has stopped, None if it has not. `blocked`: why no other agent is restarted now. `away` are the
    groups that have lost contact as a whole; the others continue.
    """

    stalled: str | None = None
    blocked: str | None = None
    away: Collection[str] = ()


def pauses_of(
    record: RolloutRecord, members: Members, groups: Groups, observation: Observation, progress_deadline: float
) -> Pauses:
    """Return what stops the rollout."""
    if len(record.replaced) > _MAX_REPLACED:
        return Pauses(
            f"the Nodes of {len(record.replaced)} canaries were deleted or lost their label during this rollout; "
            "to continue with other canaries, set annotation ciliumhybrid.io/reconcile"
        )
    missing = [member for member in _without_pod(record, members) if _has_words(member, observation)]
    away: set[str] = set()
    for member, restarted in _lost(record, members, progress_deadline):
        group = groups.get(restarted.group)
        if not member.connected and group is not None and group.disconnected > restarted.away:
            away.add(restarted.group)
        else:
            return Pauses(_lost_message(member, restarted, observation))
    for member in missing:
        when = "" if record.nodes[member.name].suspect else " after its restart"
        message = f"no agent pod on {member.name}{when}: {cause_of(member, observation, _MAX_CAUSE)}"
        waits = record.nodes[member.name].elapsed < NO_POD_GRACE
        return Pauses(blocked=message) if waits else Pauses(message)
    return Pauses(away=away)


def _without_pod(record: RolloutRecord, members: Members) -> Iterator[Member]:
    for name, restarted in record.nodes.items():
        member = members[name]
        if member.connected and member.agent is None and has_happened(member, restarted):
            yield member


def _has_words(member: Member, observation: Observation) -> bool:
    return bool(observation.agent_create_failure) or member.name in observation.unplaced


def _lost(record: RolloutRecord, members: Members, progress_deadline: float) -> Iterator[tuple[Member, RestartedNode]]:
    for name, restarted in record.nodes.items():
        if restarted.awaited and not members[name].ready and restarted.elapsed >= progress_deadline:
            yield members[name], restarted


def _lost_message(member: Member, restarted: RestartedNode, observation: Observation) -> str:
    name = member.name
    if restarted.suspect:
        return (
            f"{name} may have been restarted before the record was lost, and is not Ready "
            f"({cause_of(member, observation, _MAX_CAUSE)}); the rollout resumes when it is Ready or its Node is "
            "deleted; to continue without it, set annotation ciliumhybrid.io/reconcile"
        )
    if not member.connected:
        return (
            f"{name} lost contact after its restart; the rollout resumes when the node is back or its Node is deleted"
        )
    changed = "" if is_same_machine(restarted, member) else "; the node has rebooted or changed since"
    return f"the agent on {name} is not Ready since its restart ({cause_of(member, observation, _MAX_CAUSE)}){changed}"
