"""How the state of a rollout advances from one reconciliation to the next: what has happened, never what to do next."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.upgrade import RolloutStrategy
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord, UpdatedOperator
from cilium_hybrid.plan.rollout.budget import max_unavailable_nodes
from cilium_hybrid.plan.rollout.nodes import Members, has_happened
from cilium_hybrid.plan.rollout.plan import RolloutInput
from cilium_hybrid.plan.rollout.restarted import follow, ignored_exits, since
from cilium_hybrid.plan.rollout.suspects import suspects
from cilium_hybrid.plan.rollout.timers import restarted_node

NOTICED_AFTER: Final = 60.0
"""Seconds after which the API server knows that a node has lost contact (node-monitor-grace-period, at most 50 s)."""


def advance(rollout: RolloutInput, digest: str, members: Members) -> tuple[RolloutRecord, bool]:
    """Return the state of the rollout now, and whether it has progressed since the previous reconciliation.

    No node has settled in it yet: nodes are judged before that, see `settle`.
    """
    before = rollout.before
    if before is None or before.config_digest != digest:
        before = _start(rollout, digest, members)
    before = _take_back_lost(before, members)
    nodes = dict(_follow_all(rollout, before, members))
    progressed = before is not rollout.before or _has_new_pod(before.nodes, nodes)
    updated = max(before.updated, sum(member.updated for member in members.values()))
    outdated = min(before.outdated, sum(member.outdated for member in members.values()))
    progressed = progressed or updated > before.updated or outdated < before.outdated
    record = replace(
        before,
        max_unavailable=_max_unavailable(rollout, before),
        nodes=nodes,
        watched=dict(_still_watched(before, members, rollout.elapsed)),
        casualties=tuple(sorted({*_still_lost(before, members), *_lost_to_another(before, members)})),
        replaced=(*before.replaced, *_lost_canaries(before, members)),
        cilium_operator=_update_of_operator(before.cilium_operator, rollout),
        updated=updated,
        outdated=outdated,
    )
    deadline = duration(rollout.settings.progress_deadline).total_seconds()
    return replace(record, idle_for=0.0 if progressed else _idle_for(record, rollout.elapsed, deadline)), progressed


def settle(rollout: RolloutInput, record: RolloutRecord) -> RolloutRecord:
    """Return the state without the nodes whose new agent has been Ready for the soak time."""
    soak = duration(rollout.settings.soak).total_seconds() if rollout.judged else 0.0
    settled = {
        name: node for name, node in record.nodes.items() if node.ready_for is not None and node.ready_for >= soak
    }
    if not settled:
        return record
    unnoticed = {name: node for name, node in settled.items() if (node.ready_for or 0.0) < NOTICED_AFTER}
    return replace(
        record,
        nodes={name: node for name, node in record.nodes.items() if name not in settled},
        # On the way back, a node that loses contact must not keep the others from returning.
        watched={**record.watched, **unnoticed} if rollout.judged else {},
        casualties=tuple(name for name in record.casualties if name not in settled),
        # What was restarted before the record was lost is not counted.
        settled=record.settled + sum(not node.suspect for node in settled.values()),
        soaked=record.soaked + sum(node.canary and node.group == record.group for node in settled.values()),
        idle_for=0.0,
    )


def _take_back_lost(before: RolloutRecord, members: Members) -> RolloutRecord:
    """Return the state in which a node that lost contact just after it had settled has not settled.

    A new agent may cut off its own node, which shows only after its soak time if that is short.
    """
    lost = {
        name: replace(node, ready_for=None)
        for name, node in before.watched.items()
        if name in members and members[name].node.uid == node.node_uid and not members[name].connected
    }
    if not lost:
        return before
    canaries = [node for node in lost.values() if node.canary]
    # A group whose canary is lost needs canaries again, and no other group begins before it has them.
    closed = {node.group for node in canaries}
    group, soaked = before.group, before.soaked - sum(node.group == before.group for node in canaries)
    watched = {name: node for name, node in before.watched.items() if name not in lost}
    if closed and group not in closed:
        # The group was open: of its canaries that are not lost, those that settled a moment ago are still known.
        group = min(closed)
        soaked = sum(node.canary and node.group == group for node in watched.values())
    # Others were tried before any canary, because an earlier revision had left them not Ready.
    casualties = {name for name, node in lost.items() if not node.canary and node.group not in before.open_groups}
    return replace(
        before,
        nodes={**before.nodes, **lost},
        watched=watched,
        casualties=tuple(sorted({*before.casualties, *casualties})),
        settled=before.settled - sum(not node.suspect for node in lost.values()),
        group=group,
        soaked=max(soaked, 0),
        open_groups=tuple(name for name in before.open_groups if name not in closed),
    )


def _still_watched(before: RolloutRecord, members: Members, elapsed: float) -> Iterator[tuple[str, RestartedNode]]:
    for name, node in before.watched.items():
        ready_for = (node.ready_for or 0.0) + elapsed
        if name in members and members[name].node.uid == node.node_uid and ready_for < NOTICED_AFTER:
            yield name, replace(node, ready_for=ready_for)


def _start(rollout: RolloutInput, digest: str, members: Members) -> RolloutRecord:
    connected = sum(member.connected for member in members.values())
    before = rollout.before
    casualties = tuple(sorted(_casualties(before, members)))
    return RolloutRecord(
        digest,
        max_unavailable=max_unavailable_nodes(rollout.settings, connected),
        nodes=suspects(rollout, members) if before is None else dict(_restarting(before, members)),
        casualties=casualties,
        uncertain=() if before is None else tuple(name for name in casualties if _is_uncertain(before, name)),
        outdated=len(members),
    )


def _casualties(before: RolloutRecord | None, members: Members) -> Iterator[str]:
    """Yield the nodes that the rollout before restarted while they were healthy, and that it has not brought back."""
    if before is None:
        return
    restarted = {
        name
        for name, node in before.nodes.items()
        if name in members
        and node.awaited
        and node.node_uid == members[name].node.uid
        # An agent that keeps exiting is Ready for a moment now and then.
        and (not members[name].ready or node.exits > node.ignored_exits)
        and has_happened(members[name], node)
    }
    yield from restarted | {name for name in before.casualties if name in members}


def _is_uncertain(before: RolloutRecord, name: str) -> bool:
    """Whether a casualty may never have been restarted while it was healthy."""
    node = before.nodes.get(name)
    return name in before.uncertain if node is None or not node.awaited else node.suspect


def _restarting(before: RolloutRecord, members: Members) -> Iterator[tuple[str, RestartedNode]]:
    """Yield the nodes whose restart the rollout before has chosen and that has not been seen: it may still happen.

    Their next pod may already run this configuration.
    """
    for name, node in before.nodes.items():
        if node.awaited and name in members and not has_happened(members[name], node):
            yield name, node


def _still_lost(before: RolloutRecord, members: Members) -> Iterator[str]:
    return (name for name in before.casualties if name in members)


def _lost_to_another(before: RolloutRecord, members: Members) -> Iterator[str]:
    """Yield the restarted nodes whose new pod runs another configuration, since it was created a moment too early."""
    for name, node in before.nodes.items():
        member = members.get(name)
        if member is None or member.node.uid != node.node_uid or not node.awaited or not has_happened(member, node):
            continue
        if member.outdated and member.connected and not member.ready:
            yield name


def _max_unavailable(rollout: RolloutInput, before: RolloutRecord) -> int:
    """Return the budget: a number as the spec has it now, a percentage as it was when the rollout started."""
    value = rollout.settings.max_unavailable
    budget = value if isinstance(value, int) else before.max_unavailable
    return 1 if rollout.rebuilt else budget


def _follow_all(rollout: RolloutInput, before: RolloutRecord, members: Members) -> Iterator[tuple[str, RestartedNode]]:
    known = {**_restarted_by_daemonset(rollout, before, members), **_recovering(rollout, before, members)}
    for name, restarted in {**known, **before.nodes}.items():
        member = members.get(name)
        if member is None or member.node.uid != restarted.node_uid:
            continue
        elapsed = rollout.elapsed if name in before.nodes else 0.0
        node = follow(restarted, member, rollout.observation, elapsed, observed=rollout.observed)
        if node is not None:
            yield name, node


def _restarted_by_daemonset(
    rollout: RolloutInput, before: RolloutRecord, members: Members
) -> Mapping[str, RestartedNode]:
    """Return the healthy nodes whose outdated pod the DaemonSet controller has replaced, or is replacing."""
    if rollout.settings.strategy is not RolloutStrategy.ROLLING_UPDATE:
        return {}
    return {
        name: replace(restarted, group=members[name].group)
        for name, restarted in rollout.healthy_before.items()
        if name in members
        and name not in before.nodes
        and not members[name].outdated
        and (members[name].agent is None or has_happened(members[name], restarted))
    }


def _recovering(rollout: RolloutInput, before: RolloutRecord, members: Members) -> Mapping[str, RestartedNode]:
    """Return the casualties that run this configuration although this rollout did not restart them."""
    return {
        name: replace(restarted_node(rollout.observation, member.node, None, healthy=False), group=member.group)
        for name in before.casualties
        if name not in before.nodes
        and (member := members.get(name)) is not None
        and member.connected
        and member.agent is not None
        and not member.outdated
    }


def _has_new_pod(before: Mapping[str, RestartedNode], nodes: Mapping[str, RestartedNode]) -> bool:
    return any(
        node.new_pod_uid and (name not in before or not before[name].new_pod_uid) for name, node in nodes.items()
    )


def _lost_canaries(before: RolloutRecord, members: Members) -> Iterator[str]:
    for name, node in before.nodes.items():
        if node.canary and not node.suspect and (name not in members or members[name].node.uid != node.node_uid):
            yield node.group


def _idle_for(record: RolloutRecord, elapsed: float, deadline: float) -> float:
    """A soak time may be longer than the deadline, and is not a lack of progress."""
    soaking = [node.ready_for for node in record.nodes.values() if node.ready_for is not None]
    if max(soaking, default=0.0) >= deadline:
        # It was away for long, and is not away again and again.
        return 0.0
    return record.idle_for if soaking else record.idle_for + elapsed


def _update_of_operator(before: UpdatedOperator, rollout: RolloutInput) -> UpdatedOperator:
    operator = rollout.observation.cilium_operator
    if operator is None:
        return before
    ignored = ignored_exits(operator.exits, before.exits, before.ignored_exits, observed=rollout.observed)
    return UpdatedOperator(
        outdated_available=before.outdated_available or operator.outdated_available,
        exits=operator.exits,
        # Once the new operator runs, its exits say nothing about the agents' revision.
        ignored_exits=operator.exits if operator.current else ignored,
        image_failing_for=since(operator.image_failing, before.image_failing_for, rollout.elapsed),
    )
