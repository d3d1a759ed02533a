"""How a restarted node is followed from the choice to restart it until its new agent has settled."""

from dataclasses import replace
from typing import Final

from cilium_hybrid.plan.observation import AgentPod, Observation
from cilium_hybrid.plan.record import RestartedNode
from cilium_hybrid.plan.rollout.nodes import Member, old_pod_stands

FORGET_AFTER: Final = 60.0
"""Seconds after which a restart that was chosen, but not seen, is taken not to have happened."""


def follow(
    restarted: RestartedNode, member: Member, observation: Observation, elapsed: float, *, observed: bool
) -> RestartedNode | None:
    """Return a restarted node as it is now; None if it is not restarted any more.

    `elapsed` are the seconds that count since it was followed last; `observed`: the cluster was observed since then.
    """
    node = replace(restarted, elapsed=restarted.elapsed + elapsed)
    if old_pod_stands(member, node):
        # The deletion may have happened and not be visible yet, so its choice is not forgotten at once.
        return node if node.elapsed < FORGET_AFTER else None
    if not member.connected and not node.awaited:
        return None
    if node.pod_uid in member.terminating or member.agent is None:
        return replace(node, connected_for=None, ready_for=None, image_failing_for=None)
    if member.outdated:
        return None
    if member.agent.uid != node.new_pod_uid:
        node = _with_new_pod(node, member.agent)
    return _same_pod(node, member, member.agent, observation, elapsed, observed=observed)


def is_same_machine(restarted: RestartedNode, member: Member) -> bool:
    """Whether the node still runs what it ran when its agent was restarted; it has not rebooted either."""
    node = member.node
    return (node.uid, node.boot_id, node.kernel, node.kubelet, node.runtime) == (
        restarted.node_uid,
        restarted.boot_id,
        restarted.kernel,
        restarted.kubelet,
        restarted.runtime,
    )


def since(condition: bool, before: float | None, elapsed: float) -> float | None:
    """Return for how long a condition holds, which held for `before` seconds the last time; None if it does not."""
    if not condition:
        return None
    return 0.0 if before is None else before + elapsed


def ignored_exits(exits: int, before: int, ignored: int, *, observed: bool) -> int:
    """Return how many exits do not count: those that happened while the API server could not be reached.

    `before` exits were seen the last time, of which `ignored` did not count.
    """
    return min(exits, ignored if observed else ignored + max(exits - before, 0))


def _with_new_pod(node: RestartedNode, agent: AgentPod) -> RestartedNode:
    """Each pod has its own time: one that was evicted, or had to wait for a quota, says nothing about its successor."""
    fresh = replace(node, elapsed=0.0, connected_for=None, ready_for=None, image_failing_for=None)
    return replace(fresh, new_pod_uid=agent.uid, exits=0, ignored_exits=0)


def _same_pod(
    node: RestartedNode, member: Member, agent: AgentPod, observation: Observation, elapsed: float, *, observed: bool
) -> RestartedNode:
    return _with_sandbox_failures(
        replace(
            node,
            connected_for=since(member.connected, node.connected_for, elapsed),
            ready_for=since(member.ready, node.ready_for, elapsed),
            image_failing_for=since(agent.image_failing, node.image_failing_for, elapsed),
            exits=agent.exits,
            ignored_exits=ignored_exits(agent.exits, node.exits, node.ignored_exits, observed=observed),
        ),
        member,
        observation,
        elapsed,
    )


def _with_sandbox_failures(
    node: RestartedNode, member: Member, observation: Observation, elapsed: float
) -> RestartedNode:
    """Count the reports since the agent became Ready: pods cannot start while it does not run."""
    failure = observation.sandbox_failures.get(member.name)
    count = 0 if failure is None else failure.count
    if not node.ready_for:
        return replace(node, sandbox_failures=count, last_sandbox_failures=count, sandbox_quiet_for=0.0)
    quiet_for = 0.0 if count > node.last_sandbox_failures else node.sandbox_quiet_for + elapsed
    return replace(
        node,
        # Reports expire, which is no reason to miss the next ones.
        sandbox_failures=min(node.sandbox_failures, count),
        last_sandbox_failures=count,
        sandbox_quiet_for=quiet_for,
    )
