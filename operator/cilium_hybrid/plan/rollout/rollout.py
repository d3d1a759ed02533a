"""The rollout: which agents to restart next, whether the new agents fail, and when the configuration is verified.

The Cilium operator is updated first. Then, group by group: the canaries, their soak time, the other nodes. The state of
a rollout is its record, which says what was restarted; what to do next is derived from it and from the cluster.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.status import RolloutStatus
from cilium_hybrid.api.upgrade import RolloutStrategy
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.observation import Observation, UnplacedAgent
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord
from cilium_hybrid.plan.rollout.budget import allowed_unavailable, unavailable_members
from cilium_hybrid.plan.rollout.evidence import evidence
from cilium_hybrid.plan.rollout.groups import Choice, Groups, choose, groups_of, is_restart_in_flight
from cilium_hybrid.plan.rollout.nodes import (
    ILL_AFTER,
    Member,
    Members,
    has_happened,
    list_causes,
    members_of,
    old_pod_stands,
)
from cilium_hybrid.plan.rollout.operator_deployment import waiting_for_operator
from cilium_hybrid.plan.rollout.pauses import Pauses, pauses_of
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutInput, RolloutPlan, RolloutStep
from cilium_hybrid.plan.rollout.progress import advance, settle
from cilium_hybrid.plan.rollout.report import counted, findings_of, names_of, status_of
from cilium_hybrid.plan.rollout.timers import restarted_node
from cilium_hybrid.plan.rollout.verification import Remaining, advance_verification, remaining_of
from cilium_hybrid.rules.text import list_names

_RECHECK: Final = 15.0
"""Seconds: time counts only between reconciliations that follow each other closely."""


@dataclass(frozen=True, slots=True)
class _State:
    """A rollout after what has happened was recorded, and before the next step is chosen."""

    rollout: RolloutInput
    record: RolloutRecord
    members: Members
    groups: Groups
    remaining: Remaining
    status: RolloutStatus
    blocker: str | None
    deadline: float


def plan_rollout(rollout: RolloutInput) -> RolloutPlan:
    """Return the next step towards the configuration that the agents should run."""
    digest = rollout.digest
    if digest is None:
        return NO_ROLLOUT
    if not _is_needed(rollout, digest):
        return replace(NO_ROLLOUT, verified=_runs_everywhere(rollout.observation))
    members = members_of(rollout)
    record, progressed = advance(rollout, digest, members)
    observation, settings = rollout.observation, rollout.settings
    deadline = duration(settings.progress_deadline).total_seconds()
    if rollout.judged and (failure := evidence(record, members, observation, settings)) is not None:
        status = status_of(rollout, record, members, progressed=progressed)
        findings = findings_of(rollout, record, members, deadline)
        return RolloutPlan(
            RolloutStep.FAILED,
            failure.message,
            record=record,
            status=status,
            findings=findings,
            failed=failure.nodes,
            recheck_in=_RECHECK,
        )
    settled = settle(rollout, record)
    progressed = progressed or settled is not record
    blocker = _blocker(observation, digest, rolling_back=rollout.rolling_back)
    remaining = remaining_of(settled, members, deadline)
    record, verified = advance_verification(rollout, settled, members, remaining, blocked=blocker is not None)
    status = status_of(rollout, record, members, progressed=progressed)
    groups = groups_of(members, record)
    plan = _next_step(_State(rollout, record, members, groups, remaining, status, blocker, deadline))
    findings = findings_of(rollout, record, members, deadline)
    over = plan.step is RolloutStep.DONE and not rollout.judged and not record.nodes
    if over or (verified and plan.step in {RolloutStep.DONE, RolloutStep.WAIT}):
        # Canaries that settled a moment ago must renew their Leases before the revision is marked as verified.
        kept = record if verified and record.watched else None
        return RolloutPlan(RolloutStep.DONE, record=kept, findings=findings, verified=verified)
    return replace(plan, findings=findings, verified=verified, recheck_in=_recheck_in(rollout, record))


def nothing_to_verify(observation: Observation) -> bool:
    """Whether there is no hybrid node at all, so that a configuration counts as verified without one."""
    return not observation.nodes and not observation.cilium_nodes


def _is_needed(rollout: RolloutInput, digest: str) -> bool:
    if rollout.before is not None:
        return True
    nodes, agents = rollout.observation.nodes, rollout.observation.agents
    connected = (name for name, node in nodes.items() if node.ready != "Unknown")
    return any(rollout.judged or (name in agents and agents[name].config_digest != digest) for name in connected)


def _runs_everywhere(observation: Observation) -> bool:
    """Whether the agent of every connected node is Ready; False without such a node. None of them is outdated."""
    agents = [observation.agents.get(name) for name, node in observation.nodes.items() if node.ready != "Unknown"]
    return bool(agents) and all(agent is not None and agent.ready for agent in agents)


def _blocker(observation: Observation, digest: str, *, rolling_back: bool) -> str | None:
    """Return what must happen before any agent is restarted, None if nothing."""
    agents, operator = observation.agent_set, observation.cilium_operator
    if agents is None or not agents.observed or agents.config_digest != digest:
        # A pod that is deleted now would be recreated with the old configuration.
        return "waiting for DaemonSet cilium to be updated"
    if not rolling_back and (operator is None or not operator.current):
        return waiting_for_operator(observation)
    return None


def _next_step(state: _State) -> RolloutPlan:
    if stuck := _stuck_pods(state):
        names = list_names([pod.node for pod in stuck])
        message = counted(state.status, f"replacing the agent pods that cannot be scheduled on {names}")
        pods = tuple(PodRef(pod.name, pod.uid) for pod in stuck)
        return RolloutPlan(RolloutStep.RESTART, message, pods, state.record, state.status)
    pauses = pauses_of(state.record, state.members, state.groups, state.rollout.observation, state.deadline)
    if pauses.stalled is not None:
        return RolloutPlan(RolloutStep.STALLED, pauses.stalled, record=state.record, status=state.status)
    record = state.record
    if state.blocker is None and pauses.blocked is None and _restarts_agents(state.rollout):
        choice = _choose(state, pauses)
        record = choice.record
        if choice.chosen:
            return _restart(state, choice)
    return _wait(state, record, pauses)


def _stuck_pods(state: _State) -> list[UnplacedAgent]:
    """Return outdated pods that cannot be scheduled: nobody else replaces them, and no agent runs in them."""
    if state.blocker is not None or not _restarts_agents(state.rollout):
        return []
    members, digest = state.members, state.rollout.digest
    found = sorted(state.rollout.observation.unplaced_pods.items())
    return [
        pod
        for name, pod in found
        if pod.uid and name in members and members[name].agent is None and pod.config_digest != digest
    ]


def _restarts_agents(rollout: RolloutInput) -> bool:
    return rollout.settings.strategy is RolloutStrategy.GATED


def _choose(state: _State, pauses: Pauses) -> Choice:
    rollout, record, members = state.rollout, state.record, state.members
    allowed = allowed_unavailable(record, members, rollout.settings)
    budget = allowed - len(unavailable_members(members, record, state.deadline))
    may_restart_ill = not is_restart_in_flight(members, record, state.deadline)
    if record.casualties:
        return Choice(record, _casualty(state, budget, pauses.away, may_restart_ill=may_restart_ill))
    if not rollout.may_start:
        return Choice(record)
    standing = [members[name] for name, node in record.nodes.items() if old_pod_stands(members[name], node)]
    if standing:
        return Choice(record, [member for member in standing if _may_restart_again(state, member, budget)])
    if any(node.suspect for node in record.nodes.values()):
        # They may be canaries, of any group.
        return Choice(record)
    return choose(
        record,
        members,
        state.groups,
        canaries=_canaries(rollout),
        budget=budget,
        may_restart_ill=may_restart_ill,
        skipped=pauses.away,
    )


def _may_restart_again(state: _State, member: Member, budget: int) -> bool:
    """Whether a restart that was chosen, but has not been seen, is still valid.

    After a rollback, a node that was only chosen runs the configuration already. In the rollout of another revision, or
    once a canary is lost, its group is not open. The node of this operator belongs to no group.
    """
    record = state.record
    restarted = record.nodes[member.name]
    if not restarted.healthy:
        return member.ill
    needs_canaries = _canaries(state.rollout) > 0 and not restarted.canary and not member.own
    is_open = not needs_canaries or restarted.group in record.open_groups
    return member.outdated and member.ready and budget >= 0 and is_open


def _canaries(rollout: RolloutInput) -> int:
    if not rollout.judged:
        return 0
    return 1 if rollout.rebuilt else rollout.settings.canary


def _casualty(state: _State, budget: int, away: Collection[str], *, may_restart_ill: bool) -> Sequence[Member]:
    """Return the node to try first: one that an earlier rollout restarted and did not bring back.

    Casualties whose agents have become Ready since are tried like canaries: nothing is known of this configuration yet.
    A group that has lost contact does not delay the others.
    """
    trying = sum(node.awaited and node.group not in away for node in state.record.nodes.values())
    canaries = _canaries(state.rollout)
    may_restart_ready = budget > 0 and (not canaries or trying < canaries)
    for name in state.record.casualties:
        member, restarted = state.members[name], state.record.nodes.get(name)
        if member.outdated and (restarted is None or old_pod_stands(member, restarted)):
            if member.ill and (may_restart_ill or restarted is not None):
                return [member]
            if member.ready and may_restart_ready and (may_restart_ill or not _has_exited(member)):
                return [member]
    return ()


def _has_exited(member: Member) -> bool:
    """Whether a casualty that is Ready may be so for a moment only: its agent keeps exiting."""
    return member.agent is not None and member.agent.exits > 0


def _restart(state: _State, choice: Choice) -> RolloutPlan:
    record, members = choice.record, state.members
    first = not record.settled and not any(
        node.new_pod_uid or has_happened(members[name], node) for name, node in record.nodes.items() if not node.suspect
    )
    nodes = {member.name: _as_restarted(state, choice, member) for member in choice.chosen}
    canaries = bool(nodes) and all(node.canary for node in nodes.values())
    return RolloutPlan(
        RolloutStep.RESTART,
        counted(state.status, f"restarting {names_of(choice.chosen, canaries=canaries)}"),
        tuple(PodRef(member.agent.name, member.agent.uid) for member in choice.chosen if member.agent is not None),
        replace(record, nodes={**record.nodes, **nodes}),
        state.status,
        first=first,
    )


def _as_restarted(state: _State, choice: Choice, member: Member) -> RestartedNode:
    before, group = state.record.nodes.get(member.name), state.groups.get(member.group)
    if before is not None:
        # The first deletion may have happened, unseen: what is known of the node must be older than the new pod.
        return before
    crashed = member.name in choice.record.casualties and _has_exited(member)
    healthy = member.ready and not crashed
    restarted = restarted_node(state.rollout.observation, member.node, member.agent, healthy=healthy)
    away = 0 if group is None else group.disconnected
    return replace(restarted, group=member.group, canary=choice.canaries, away=away)


def _wait(state: _State, record: RolloutRecord, pauses: Pauses) -> RolloutPlan:
    cause = state.blocker or pauses.blocked or _awaited(state, record)
    if cause is None:
        return RolloutPlan(RolloutStep.DONE, record=record)
    # An outdated agent that is not Ready may become ill, and is then restarted.
    unready = any(member.outdated and member.unready_for is not None for member in state.members.values())
    if record.idle_for >= (max(state.deadline, ILL_AFTER) if unready else state.deadline):
        waited = "2m" if unready and state.deadline < ILL_AFTER else state.rollout.settings.progress_deadline
        message = counted(state.status, f"no progress for {waited}: {cause}")
        return RolloutPlan(RolloutStep.STALLED, message, record=record, status=state.status)
    return RolloutPlan(RolloutStep.WAIT, counted(state.status, cause), record=record, status=state.status)


def _awaited(state: _State, record: RolloutRecord) -> str | None:
    """Return what the rollout waits for, None if for nothing but time."""
    members, observation = state.members, state.rollout.observation
    connected = [member for member in members.values() if member.connected]
    if connected and not any(member.updated for member in connected) and not state.remaining.members:
        # At least one node must run the configuration, and all are set aside.
        return f"waiting for {list_causes(connected, observation)}"
    if not state.remaining.members and not record.casualties:
        return None
    if casualties := [members[name] for name in record.casualties if not members[name].updated]:
        waiting = f"waiting for {list_causes(casualties, observation)}, which an earlier revision"
        if all(casualty.name in record.uncertain for casualty in casualties):
            return (
                f"{waiting} may have left not Ready; to continue without it, set annotation ciliumhybrid.io/reconcile"
            )
        return f"{waiting} left not Ready"
    if unavailable := unavailable_members(members, record, state.deadline):
        return f"waiting for {list_causes(unavailable, observation)}"
    soaking = [members[name] for name, node in sorted(record.nodes.items()) if node.ready_for is not None]
    if canaries := [member for member in soaking if record.nodes[member.name].canary]:
        return f"soaking {names_of(canaries, canaries=True)}"
    if not _restarts_agents(state.rollout):
        names = names_of(state.remaining.members, canaries=False)
        return f"waiting for the DaemonSet controller to restart {names}"
    return f"waiting to restart {names_of(state.remaining.members or soaking, canaries=False)}"


def _recheck_in(rollout: RolloutInput, record: RolloutRecord) -> float:
    """Return when the next node settles, or when time must be counted at the latest."""
    soak = duration(rollout.settings.soak).total_seconds()
    ready = [node.ready_for for node in record.nodes.values() if node.ready_for is not None]
    left = [soak - seconds for seconds in (*ready, record.steady_for) if seconds is not None and seconds < soak]
    return max(min((*left, _RECHECK)), 1.0)
