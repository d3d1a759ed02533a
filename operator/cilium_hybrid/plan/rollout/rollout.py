"""The gated rollout: which agents move next, and whether it goes well. One look at the cluster is enough to go on.

Cilium's operator first; then, group by group, canaries, their soak, the rest; the operator's own node at the very end.
Nodes that do not report neither block nor fail, and are moved when they come back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.status import MAX_UNREADY, RolloutStatus
from cilium_hybrid.api.v1alpha1 import Rollout
from cilium_hybrid.plan.observation import AgentPod, HybridNode, Observation
from cilium_hybrid.plan.rollout.operator_deployment import with_its_trouble
from cilium_hybrid.rules.text import list_names

PATIENCE: Final = timedelta(seconds=30)
"""How long a new agent may crash, or wait for its image, before that is evidence against the release."""


class RolloutStep(StrEnum):
    """Where a rollout is."""

    DONE = "Done"
    RESTART = "Move"
    WAIT = "Wait"
    STALLED = "Stuck"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What comes next. `pods` are those to end, `status` is None where no rollout is under way.

    `again`: when the time alone changes the answer.
    """

    step: RolloutStep
    message: str = ""
    pods: tuple[str, ...] = ()
    status: RolloutStatus | None = None
    again: datetime | None = None


NO_ROLLOUT: Final = RolloutPlan(RolloutStep.DONE)


@dataclass(frozen=True, slots=True)
class _Member:
    """A connected node and its agent; `pod` is None where there is none, or one on its way out.

    `starved`: it waits for a block of pod addresses, as an agent of any release would.
    """

    node: HybridNode
    pod: AgentPod | None
    digest: str | None
    waiting_for_cidr: bool = False

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def outdated(self) -> bool:
        return self.pod is not None and self.pod.config_digest != self.digest

    @property
    def healthy(self) -> bool:
        return self.pod is not None and not self.outdated and self.pod.ready

    @property
    def restarting(self) -> bool:
        return not self.outdated and not self.healthy


def plan_rollout(
    observation: Observation,
    digest: str | None,
    settings: Rollout,
    previous: RolloutStatus | None,
    own_node: str | None,
    now: datetime,
    *,
    back: bool = False,
) -> RolloutPlan:
    """Choose the next step towards `digest`. `previous` is what was reported last, None where nothing was under way.

    `back`: the agents go back to a release before. They did not wait for its operator when they ran beside the new one.
    """
    members = _members(observation, digest)
    unhealthy_before = _unhealthy_before(members, previous)
    restarting = [member for member in members if member.restarting and member.name not in unhealthy_before]
    if not any(member.outdated for member in members) and (previous is None or not restarting):
        return NO_ROLLOUT
    status = _status(members, previous, unhealthy_before, now)
    deadline = status.last_progress_at + duration(settings.progress_deadline)
    if (bad := _evidence(restarting, status, deadline, now)) is not None:
        return RolloutPlan(RolloutStep.FAILED, bad, status=status)
    first = _what_comes_first(observation, digest, back=back)
    if first is None:
        plan = _next(members, settings, own_node, status, now)
    else:
        plan = RolloutPlan(RolloutStep.WAIT, f"{_told(status)}; {first}", status=status)
    # A soak may be longer than the deadline, and is no lack of progress.
    if plan.step is RolloutStep.WAIT and plan.again is None and now >= deadline:
        return RolloutPlan(
            RolloutStep.STALLED, f"no progress since {status.last_progress_at:%H:%M:%SZ}: {plan.message}", status=status
        )
    return plan


def is_verified(observation: Observation, digest: str | None) -> bool:
    """Whether every connected node's agent runs this configuration and is Ready, and there is one."""
    members = _members(observation, digest)
    return bool(members) and all(member.healthy for member in members)


def _members(observation: Observation, digest: str | None) -> list[_Member]:
    return [
        _Member(node, observation.agents.get(name), digest, _waits_for_cidr(observation, name))
        for name, node in sorted(observation.nodes.items())
        if node.ready != "Unknown"
    ]


def _waits_for_cidr(observation: Observation, name: str) -> bool:
    cilium_node = observation.cilium_nodes.get(name)
    return cilium_node is not None and not cilium_node.pod_cidrs


def _unhealthy_before(members: Sequence[_Member], previous: RolloutStatus | None) -> tuple[str, ...]:
    """Nodes on which the agent before fared no better: what the new one does there says nothing of the release."""
    before = () if previous is None else previous.unhealthy_before
    now = (member.name for member in members if member.outdated and member.pod and not member.pod.ready)
    healthy = {member.name for member in members if member.healthy}
    return tuple(sorted({*before, *now} - healthy))


def _status(
    members: Sequence[_Member], previous: RolloutStatus | None, unhealthy_before: tuple[str, ...], now: datetime
) -> RolloutStatus:
    updated = sum(member.healthy for member in members)
    current = tuple(member.name for member in members if member.restarting)[:MAX_UNREADY]
    outdated = sum(member.outdated for member in members)
    # An agent that was Ready and is not any more has its time too, from that moment on.
    progressed = previous is None or updated != previous.updated or outdated < previous.outdated
    at = now if previous is None or progressed else previous.last_progress_at
    return RolloutStatus(
        updated=updated,
        total=len(members),
        outdated=outdated,
        current=current,
        unhealthy_before=unhealthy_before,
        last_progress_at=at,
    )


def _evidence(restarting: Sequence[_Member], status: RolloutStatus, deadline: datetime, now: datetime) -> str | None:
    """Named nodes whose new agent fails; a pod that did not start at all is no evidence against the release."""
    crashed = min(deadline, status.last_progress_at + PATIENCE)
    found = []
    for member in restarting:
        if member.pod is None or member.waiting_for_cidr:
            continue
        failure_message = member.pod.failure_message or member.pod.crash_message
        if failure_message and now >= crashed:
            found.append(f"{member.name} ({failure_message})")
        elif member.pod.started and now >= deadline:
            found.append(f"{member.name} (its new agent started and is not Ready)")
    return f"the new agent fails on {list_names(found)}" if found else None


def _what_comes_first(observation: Observation, digest: str | None, *, back: bool) -> str | None:
    """What has to be done before any agent moves."""
    agents, operator = observation.agent_set, observation.cilium_operator
    if agents is None or not agents.observed or agents.config_digest != digest:
        # A pod that is ended now would come back as it was.
        return "the agents' DaemonSet is being rewritten"
    if not back and (operator is None or not operator.current):
        return with_its_trouble("Cilium's operator comes first, and is not ready yet", observation)
    return None


def _told(status: RolloutStatus) -> str:
    return f"{status.updated} of {status.total} connected nodes run what is released"


def _next(
    members: Sequence[_Member],
    settings: Rollout,
    own_node: str | None,
    status: RolloutStatus,
    now: datetime,
) -> RolloutPlan:
    told = _told(status)
    restarting = [member.name for member in members if member.restarting and member.name not in status.unhealthy_before]
    room = max(settings.max_unavailable - len(restarting), 0)
    for group, canaries in _groups(members, settings, own_node):
        outdated = [member for member in group if member.outdated]
        healthy = [member for member in group if member.healthy]
        fit = [member for member in group if member.name not in status.unhealthy_before]
        wanted = min(canaries, len(fit))
        moved = sum(not member.outdated for member in fit)
        if moved < wanted:
            chosen = [member for member in fit if member.outdated][: min(room, wanted - moved)]
            return _restart(chosen, f"{told}; canaries first", restarting, status)
        soaked = sorted(
            member.pod.ready_since + duration(settings.soak)
            for member in healthy
            if member.pod and member.pod.ready_since
        )
        if len(healthy) < wanted:
            return RolloutPlan(RolloutStep.WAIT, f"{told}; waiting for {list_names(restarting)}", status=status)
        if wanted and any(member.outdated for member in members) and len(soaked) >= wanted and soaked[wanted - 1] > now:
            names = list_names([member.name for member in healthy][:wanted])
            return RolloutPlan(RolloutStep.WAIT, f"{told}; {names} soaks", status=status, again=soaked[wanted - 1])
        if outdated:
            broken_first = sorted(outdated, key=lambda member: member.pod is not None and member.pod.ready)
            return _restart(broken_first[:room], told, restarting, status)
    return RolloutPlan(RolloutStep.WAIT, f"{told}; waiting for {list_names(restarting)}", status=status)


def _restart(chosen: Sequence[_Member], told: str, restarting: Sequence[str], status: RolloutStatus) -> RolloutPlan:
    if not chosen:
        return RolloutPlan(RolloutStep.WAIT, f"{told}; waiting for {list_names(restarting)}", status=status)
    pods = tuple(member.pod.name for member in chosen if member.pod is not None)
    return RolloutPlan(
        RolloutStep.RESTART, f"{told}; moving {list_names([member.name for member in chosen])}", pods, status
    )


def _groups(members: Sequence[_Member], settings: Rollout, own_node: str | None) -> Iterator[tuple[list[_Member], int]]:
    """The members by group, each with the number of its canaries; at last the node that this operator runs on."""
    others = [member for member in members if member.name != own_node]
    for value in sorted({member.node.labels.get(settings.group_by, "") for member in others}):
        group = [member for member in others if member.node.labels.get(settings.group_by, "") == value]
        yield group, settings.canary
    yield [member for member in members if member.name == own_node], 0
