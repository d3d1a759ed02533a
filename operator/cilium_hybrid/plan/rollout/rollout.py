"""The gated rollout: which agents to restart next, and whether the new agents fail.

The Cilium operator is updated first. Then, group by group: the canaries, their soak time, the other nodes. The node of
this operator comes last. Disconnected nodes neither block nor fail the rollout, and their agents are restarted when
they return. Each step is derived from the observed state alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.status import MAX_UNREADY, RolloutStatus
from cilium_hybrid.api.upgrade import Rollout
from cilium_hybrid.plan.observation import AgentPod, HybridNode, Observation
from cilium_hybrid.plan.rollout.operator_deployment import with_operator_failure
from cilium_hybrid.rules.text import list_names

FAILURE_GRACE: Final = timedelta(seconds=30)
"""How long a new agent may crash, or wait for its image, before it counts as failed."""


class RolloutStep(StrEnum):
    """The state of a rollout."""

    DONE = "Done"
    RESTART = "Restart"
    WAIT = "Wait"
    STALLED = "Stalled"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The next step of a rollout.

    `pods` are the agent pods to restart. `status` is None if no rollout is in progress. `recheck_at` is when the plan
    changes even if the cluster does not.
    """

    step: RolloutStep
    message: str = ""
    pods: tuple[str, ...] = ()
    status: RolloutStatus | None = None
    recheck_at: datetime | None = None


NO_ROLLOUT: Final = RolloutPlan(RolloutStep.DONE)


@dataclass(frozen=True, slots=True)
class _Member:
    """A connected node and its agent; `pod` is None if there is none, or only a terminating one.

    `waiting_for_cidr`: the node has no pod CIDR, so an agent of any release would fail on it.
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


def max_unavailable_nodes(settings: Rollout, connected: int) -> int:
    """Return `maxUnavailable` as a number of nodes: a percentage of the connected nodes, rounded up, at least 1."""
    value = settings.max_unavailable
    if isinstance(value, int):
        return value
    percent = int(value.removesuffix("%"))
    return max(-(-percent * connected // 100), 1)


def plan_rollout(
    observation: Observation,
    digest: str | None,
    settings: Rollout,
    previous: RolloutStatus | None,
    own_node: str | None,
    now: datetime,
    *,
    rolling_back: bool = False,
) -> RolloutPlan:
    """Choose the next step towards configuration `digest`; `previous` is the last status, None if there was no rollout.

    `rolling_back`: the agents return to an earlier release. They do not wait for its operator, because they already ran
    beside the newer one.
    """
    members = _members(observation, digest)
    unhealthy_before = _unhealthy_before(members, previous)
    restarting = [member for member in members if member.restarting and member.name not in unhealthy_before]
    if not any(member.outdated for member in members) and (previous is None or not restarting):
        return NO_ROLLOUT
    status = _status(members, previous, unhealthy_before, now)
    deadline = status.last_progress_at + duration(settings.progress_deadline)
    if (failure := _failure(restarting, status, deadline, now)) is not None:
        return RolloutPlan(RolloutStep.FAILED, failure, status=status)
    blocker = _blocker(observation, digest, rolling_back=rolling_back)
    plan = _next_step(members, settings, own_node, status, now) if blocker is None else _wait(status, blocker)
    # A soak time may be longer than the deadline and is not a lack of progress.
    if plan.step is RolloutStep.WAIT and plan.recheck_at is None and now >= deadline:
        message = f"no progress since {status.last_progress_at:%H:%MZ}: {plan.message}"
        return RolloutPlan(RolloutStep.STALLED, message, status=status)
    return plan


def is_verified(observation: Observation, digest: str | None) -> bool:
    """Whether the agent of every connected node runs this configuration and is Ready; False without such a node."""
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
    """Return the nodes whose outdated agent was not Ready either: a new agent's failure there is not the release's."""
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
    # An updated agent that stops being Ready restarts the deadline too.
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


def _failure(restarting: Sequence[_Member], status: RolloutStatus, deadline: datetime, now: datetime) -> str | None:
    """Return the nodes whose new agent failed; a pod whose containers never started says nothing about the release."""
    grace_ends_at = min(deadline, status.last_progress_at + FAILURE_GRACE)
    failed = []
    for member in restarting:
        if member.pod is None or member.waiting_for_cidr:
            continue
        failure_message = member.pod.failure_message or member.pod.crash_message
        if failure_message and now >= grace_ends_at:
            failed.append(f"{member.name} ({failure_message})")
        elif member.pod.started and now >= deadline:
            failed.append(f"{member.name} (started but not Ready)")
    return f"the new agent fails on {list_names(failed)}" if failed else None


def _blocker(observation: Observation, digest: str | None, *, rolling_back: bool) -> str | None:
    """Return what must happen before any agent is restarted, None if nothing."""
    agents, operator = observation.agent_set, observation.cilium_operator
    if agents is None or not agents.observed or agents.config_digest != digest:
        # A pod that is deleted now would be recreated with the old configuration.
        return "waiting for DaemonSet cilium to be updated"
    if not rolling_back and (operator is None or not operator.current):
        return with_operator_failure("waiting for the Cilium operator to be updated", observation)
    return None


def _next_step(
    members: Sequence[_Member],
    settings: Rollout,
    own_node: str | None,
    status: RolloutStatus,
    now: datetime,
) -> RolloutPlan:
    restarting = [member.name for member in members if member.restarting and member.name not in status.unhealthy_before]
    waiting = _wait(status, f"waiting for {list_names(restarting)}")
    budget = max(max_unavailable_nodes(settings, len(members)) - len(restarting), 0)
    for group, canaries in _groups(members, settings, own_node):
        outdated = [member for member in group if member.outdated]
        healthy = [member for member in group if member.healthy]
        # An agent that was unhealthy before cannot show whether the release works.
        candidates = [member for member in group if member.name not in status.unhealthy_before]
        needed = min(canaries, len(candidates))
        restarted = sum(not member.outdated for member in candidates)
        if restarted < needed:
            chosen = [member for member in candidates if member.outdated][: min(budget, needed - restarted)]
            return _restart(chosen, _canaries(chosen), status) if chosen else waiting
        if len(healthy) < needed:
            return waiting
        soak_ends_at = sorted(
            member.pod.ready_since + duration(settings.soak)
            for member in healthy
            if member.pod and member.pod.ready_since
        )
        soaking = len(soak_ends_at) >= needed and soak_ends_at[needed - 1] > now if needed else False
        if soaking and any(member.outdated for member in members):
            return _wait(status, f"soaking {_canaries(healthy[:needed])}", soak_ends_at[needed - 1])
        if outdated:
            unready_first = sorted(outdated, key=lambda member: member.pod is not None and member.pod.ready)
            chosen = unready_first[:budget]
            return _restart(chosen, _names(chosen), status) if chosen else waiting
    return waiting


def _canaries(members: Sequence[_Member]) -> str:
    return f"{'canary' if len(members) == 1 else 'canaries'} {_names(members)}"


def _names(members: Sequence[_Member]) -> str:
    return list_names([member.name for member in members])


def _restart(chosen: Sequence[_Member], names: str, status: RolloutStatus) -> RolloutPlan:
    pods = tuple(member.pod.name for member in chosen if member.pod is not None)
    return RolloutPlan(RolloutStep.RESTART, f"{_updated(status)}; restarting {names}", pods, status)


def _wait(status: RolloutStatus, cause: str, recheck_at: datetime | None = None) -> RolloutPlan:
    return RolloutPlan(RolloutStep.WAIT, f"{_updated(status)}; {cause}", status=status, recheck_at=recheck_at)


def _updated(status: RolloutStatus) -> str:
    return f"{status.updated} of {status.total} connected nodes updated"


def _groups(members: Sequence[_Member], settings: Rollout, own_node: str | None) -> Iterator[tuple[list[_Member], int]]:
    """Yield the groups of nodes, each with its number of canaries; the node that this operator runs on comes last."""
    others = [member for member in members if member.name != own_node]
    for value in sorted({member.node.labels.get(settings.group_by, "") for member in others}):
        group = [member for member in others if member.node.labels.get(settings.group_by, "") == value]
        yield group, settings.canary
    yield [member for member in members if member.name == own_node], 0
