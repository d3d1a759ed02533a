"""Evidence against a revision: what happens on a healthy node that it was rolled out to.

Anything else that goes wrong is reported, but a revision is not rejected for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.upgrade import Rollout
from cilium_hybrid.plan.observation import AgentPod, Observation
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord, UpdatedOperator
from cilium_hybrid.plan.rollout.nodes import ILL_AFTER, Member, Members, has_happened, shortened
from cilium_hybrid.plan.rollout.operator_deployment import with_operator_failure
from cilium_hybrid.plan.rollout.restarted import is_same_machine
from cilium_hybrid.rules.text import list_names

EXITS: Final = 2
"""A container that exits once may do so for a reason that is gone when it runs again."""
IMAGE_GRACE: Final = 30.0
"""Seconds for which a registry must refuse the image."""
_SHOWN: Final = 2
"""Nodes that a message names with their causes."""
_MAX_SANDBOX_WINDOW: Final = 360.0
"""Seconds: the kubelet reports a failure that repeats at least every five minutes."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence against a revision: a sentence that names nodes and causes, and the nodes if it comes from any."""

    message: str
    nodes: tuple[str, ...] = ()


def evidence(record: RolloutRecord, members: Members, observation: Observation, settings: Rollout) -> Evidence | None:
    """Return the evidence against the revision, None if there is none."""
    # The operator comes first: agents may fail because it does.
    if cause := _operator_failure(record.cilium_operator, observation):
        return Evidence(cause)
    failed = {
        name: f"{name} ({shortened(cause)})"
        for name, node in sorted(record.nodes.items())
        if (cause := _node_failure(node, members[name], observation, settings))
    }
    if not failed:
        return None
    # The message names two; more nodes than it names need not be read afresh.
    return Evidence(f"the new agent fails on {list_names([*failed.values()], limit=_SHOWN)}", tuple(failed)[:_SHOWN])


def _node_failure(restarted: RestartedNode, member: Member, observation: Observation, settings: Rollout) -> str | None:
    agent = member.agent
    if not restarted.healthy or agent is None or not member.connected or not has_happened(member, restarted):
        return None
    if not is_same_machine(restarted, member) or _waits_for_cidr(observation, member.name):
        return None
    return next(_failures(restarted, member, agent, observation, settings), None)


def _failures(
    restarted: RestartedNode, member: Member, agent: AgentPod, observation: Observation, settings: Rollout
) -> Iterator[str]:
    words = agent.failure_message or agent.crash_message
    exits = restarted.exits - restarted.ignored_exits
    if exits >= EXITS:
        yield words or f"a container has exited {exits} times"
    if restarted.image_failing_for is not None and restarted.image_failing_for >= IMAGE_GRACE:
        yield words or "image cannot be pulled"
    deadline = duration(settings.progress_deadline).total_seconds()
    # An agent is not Ready for a moment when its node has lost contact, which may have been unseen.
    still = member.unready_for is not None and member.unready_for >= min(ILL_AFTER, deadline)
    late = restarted.connected_for is not None and restarted.connected_for >= deadline
    if agent.started and still and late:
        yield words or f"started but not Ready for {settings.progress_deadline}"
    if cause := _sandbox_failure(restarted, member.name, observation, duration(settings.soak).total_seconds()):
        yield cause


def _sandbox_failure(restarted: RestartedNode, name: str, observation: Observation, soak: float) -> str | None:
    failure = observation.sandbox_failures.get(name)
    if failure is None or failure.no_address or restarted.sandbox_failing:
        return None
    if restarted.ready_for is None or restarted.ready_for < soak:
        return None
    repeats = failure.count - restarted.sandbox_failures >= EXITS
    still_occurs = restarted.sandbox_quiet_for < min(soak / 2, _MAX_SANDBOX_WINDOW)
    return f"agent is Ready, but pods cannot start: {failure.message}" if repeats and still_occurs else None


def _operator_failure(update: UpdatedOperator, observation: Observation) -> str | None:
    operator = observation.cilium_operator
    if operator is None or operator.current or not update.outdated_available:
        return None
    exits = update.exits - update.ignored_exits >= EXITS
    image = update.image_failing_for is not None and update.image_failing_for >= IMAGE_GRACE
    if not exits and not image:
        return None
    if operator.failure_message:
        return f"the new Cilium operator fails ({shortened(operator.failure_message)})"
    return with_operator_failure("the new Cilium operator fails", observation)


def _waits_for_cidr(observation: Observation, name: str) -> bool:
    """Whether the node has no pod CIDR, so that an agent of any release would fail on it."""
    cilium_node = observation.cilium_nodes.get(name)
    return cilium_node is not None and not cilium_node.pod_cidrs
