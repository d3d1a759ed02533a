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
from cilium_hybrid.plan.succession import with_its_trouble
from cilium_hybrid.plan.wording import some

PATIENCE: Final = timedelta(seconds=30)
"""How long a new agent may crash, or wait for its image, before that is evidence against the release."""


class Step(StrEnum):
    """Where a rollout is."""

    DONE = "Done"
    MOVE = "Move"
    WAIT = "Wait"
    STUCK = "Stuck"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What comes next. `pods` are those to end, `status` is None where no rollout is under way.

    `again`: when the time alone changes the answer.
    """

    step: Step
    message: str = ""
    pods: tuple[str, ...] = ()
    status: RolloutStatus | None = None
    again: datetime | None = None


NO_ROLLOUT: Final = RolloutPlan(Step.DONE)


@dataclass(frozen=True, slots=True)
class _Member:
    """A connected node and its agent; `pod` is None where there is none, or one on its way out.

    `starved`: it waits for a block of pod addresses, as an agent of any release would.
    """

    node: HybridNode
    pod: AgentPod | None
    digest: str | None
    starved: bool = False

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def stale(self) -> bool:
        return self.pod is not None and self.pod.config_digest != self.digest

    @property
    def well(self) -> bool:
        return self.pod is not None and not self.stale and self.pod.ready

    @property
    def moving(self) -> bool:
        return not self.stale and not self.well


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
    broken = _broken(members, previous)
    moving = [member for member in members if member.moving and member.name not in broken]
    if not any(member.stale for member in members) and (previous is None or not moving):
        return NO_ROLLOUT
    status = _status(members, previous, broken, now)
    deadline = status.last_progress_at + duration(settings.progress_deadline)
    if (bad := _evidence(moving, status, deadline, now)) is not None:
        return RolloutPlan(Step.FAILED, bad, status=status)
    first = _what_comes_first(observation, digest, back=back)
    if first is None:
        plan = _next(members, settings, own_node, status, now)
    else:
        plan = RolloutPlan(Step.WAIT, f"{_told(status)}; {first}", status=status)
    # A soak may be longer than the deadline, and is no lack of progress.
    if plan.step is Step.WAIT and plan.again is None and now >= deadline:
        return RolloutPlan(
            Step.STUCK, f"no progress since {status.last_progress_at:%H:%M:%SZ}: {plan.message}", status=status
        )
    return plan


def proven(observation: Observation, digest: str | None) -> bool:
    """Whether every connected node's agent runs this configuration and is Ready, and there is one."""
    members = _members(observation, digest)
    return bool(members) and all(member.well for member in members)


def _members(observation: Observation, digest: str | None) -> list[_Member]:
    return [
        _Member(node, observation.agents.get(name), digest, _is_starved(observation, name))
        for name, node in sorted(observation.nodes.items())
        if node.ready != "Unknown"
    ]


def _is_starved(observation: Observation, name: str) -> bool:
    cilium_node = observation.cilium_nodes.get(name)
    return cilium_node is not None and not cilium_node.pod_cidrs


def _broken(members: Sequence[_Member], previous: RolloutStatus | None) -> tuple[str, ...]:
    """Nodes on which the agent before fared no better: what the new one does there says nothing of the release."""
    before = () if previous is None else previous.broken
    now = (member.name for member in members if member.stale and member.pod and not member.pod.ready)
    well = {member.name for member in members if member.well}
    return tuple(sorted({*before, *now} - well))


def _status(
    members: Sequence[_Member], previous: RolloutStatus | None, broken: tuple[str, ...], now: datetime
) -> RolloutStatus:
    updated = sum(member.well for member in members)
    current = tuple(member.name for member in members if member.moving)[:MAX_UNREADY]
    left = sum(member.stale for member in members)
    # An agent that was Ready and is not any more has its time too, from that moment on.
    got_on = previous is None or updated != previous.updated or left < previous.left
    at = now if previous is None or got_on else previous.last_progress_at
    return RolloutStatus(
        updated=updated, total=len(members), left=left, current=current, broken=broken, last_progress_at=at
    )


def _evidence(moving: Sequence[_Member], status: RolloutStatus, deadline: datetime, now: datetime) -> str | None:
    """Named nodes whose new agent fails; a pod that did not start at all is no evidence against the release."""
    crashed = min(deadline, status.last_progress_at + PATIENCE)
    found = []
    for member in moving:
        if member.pod is None or member.starved:
            continue
        trouble = member.pod.trouble or member.pod.crash
        if trouble and now >= crashed:
            found.append(f"{member.name} ({trouble})")
        elif member.pod.started and now >= deadline:
            found.append(f"{member.name} (its new agent started and is not Ready)")
    return f"the new agent fails on {some(found)}" if found else None


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
    moving = [member.name for member in members if member.moving and member.name not in status.broken]
    room = max(settings.max_unavailable - len(moving), 0)
    for group, canaries in _groups(members, settings, own_node):
        stale = [member for member in group if member.stale]
        well = [member for member in group if member.well]
        fit = [member for member in group if member.name not in status.broken]
        wanted = min(canaries, len(fit))
        moved = sum(not member.stale for member in fit)
        if moved < wanted:
            chosen = [member for member in fit if member.stale][: min(room, wanted - moved)]
            return _move(chosen, f"{told}; canaries first", moving, status)
        soaked = sorted(
            member.pod.ready_since + duration(settings.soak) for member in well if member.pod and member.pod.ready_since
        )
        if len(well) < wanted:
            return RolloutPlan(Step.WAIT, f"{told}; waiting for {some(moving)}", status=status)
        if wanted and any(member.stale for member in members) and len(soaked) >= wanted and soaked[wanted - 1] > now:
            names = some([member.name for member in well][:wanted])
            return RolloutPlan(Step.WAIT, f"{told}; {names} soaks", status=status, again=soaked[wanted - 1])
        if stale:
            broken_first = sorted(stale, key=lambda member: member.pod is not None and member.pod.ready)
            return _move(broken_first[:room], told, moving, status)
    return RolloutPlan(Step.WAIT, f"{told}; waiting for {some(moving)}", status=status)


def _move(chosen: Sequence[_Member], told: str, moving: Sequence[str], status: RolloutStatus) -> RolloutPlan:
    if not chosen:
        return RolloutPlan(Step.WAIT, f"{told}; waiting for {some(moving)}", status=status)
    pods = tuple(member.pod.name for member in chosen if member.pod is not None)
    return RolloutPlan(Step.MOVE, f"{told}; moving {some([member.name for member in chosen])}", pods, status)


def _groups(members: Sequence[_Member], settings: Rollout, own_node: str | None) -> Iterator[tuple[list[_Member], int]]:
    """The members by group, each with the number of its canaries; at last the node that this operator runs on."""
    others = [member for member in members if member.name != own_node]
    for value in sorted({member.node.labels.get(settings.group_by, "") for member in others}):
        group = [member for member in others if member.node.labels.get(settings.group_by, "") == value]
        yield group, settings.canary
    yield [member for member in members if member.name == own_node], 0
