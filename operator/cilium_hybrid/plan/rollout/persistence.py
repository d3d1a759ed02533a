"""What of the state of a rollout is kept, and when it is worth a write of the record."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.record import Record, RestartedNode, RolloutRecord, UpdatedOperator

_MINUTE: Final = 60.0
_ENOUGH: Final = 2
"""So many exits, or reports, are evidence; more of them say nothing new."""


def persisted(record: RolloutRecord) -> RolloutRecord:
    """Return the state with times in whole minutes; two states that are equal here need not be written again.

    Exits and reports that change no verdict any more are not counted, since an agent may fail again and again. The
    counts of updated and outdated nodes are left out: a start with old ones only counts as progress once.
    """
    return replace(
        record,
        nodes={name: _node(node) for name, node in record.nodes.items()},
        watched={},
        cilium_operator=_operator(record.cilium_operator),
        idle_for=_minutes(record.idle_for),
        steady_for=_optional(record.steady_for),
        updated=0,
        outdated=0,
    )


def without_choice(
    rollout: RolloutRecord | None, pods: Sequence[PodRef], record: Record | None
) -> RolloutRecord | None:
    """Return the state without the agents that were chosen to be restarted, unless they are in the record."""
    if rollout is None:
        return None
    known = {} if record is None or record.rollout is None else record.rollout.nodes
    undone = {pod.uid for pod in pods} - {node.pod_uid for node in known.values()}
    return replace(rollout, nodes={name: node for name, node in rollout.nodes.items() if node.pod_uid not in undone})


def _node(node: RestartedNode) -> RestartedNode:
    return replace(
        node,
        elapsed=_minutes(node.elapsed),
        connected_for=_optional(node.connected_for),
        ready_for=_optional(node.ready_for),
        image_failing_for=_optional(node.image_failing_for),
        exits=min(node.exits - node.ignored_exits, _ENOUGH),
        ignored_exits=0,
        sandbox_failures=0,
        last_sandbox_failures=min(node.last_sandbox_failures - node.sandbox_failures, _ENOUGH),
        sandbox_quiet_for=_minutes(node.sandbox_quiet_for),
    )


def _operator(update: UpdatedOperator) -> UpdatedOperator:
    return replace(
        update,
        exits=min(update.exits - update.ignored_exits, _ENOUGH),
        ignored_exits=0,
        image_failing_for=_optional(update.image_failing_for),
    )


def _optional(seconds: float | None) -> float:
    """A state that holds for less than a minute may come and go, as that of an agent that crashes again and again."""
    return _minutes(seconds or 0.0)


def _minutes(seconds: float) -> float:
    return seconds // _MINUTE * _MINUTE
