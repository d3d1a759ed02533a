# ruff: noqa: ARG001 # all invariants have the same arguments
"""What must hold at every write of the operator: each invariant is a function that yields what a write violates.

This module has the general ones, `restarts.py` and `releases.py` the others. To add one, write a function
`(world, write) -> Iterator[str]` whose name says what holds, and add it to `ON_WRITE`. It is called before the write
takes effect, so the world shows the state that the operator had to judge. What a process could not know, because a
watch lagged, is no violation: such invariants read `write.process.observed`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from cilium_hybrid.api.status import Status, parse_status
from simulation.releases import (
    a_helm_that_may_still_run_is_waited_for,
    applies_over_a_readable_newest,
    foreign_preflights_are_left_alone,
    foreign_revisions_are_left_alone,
    no_minor_is_skipped,
    no_rejected_release_is_retried,
    rolls_back_to_an_older_verified_revision,
    running_pools_are_kept,
    uninstalled_only_by_deletion,
    upgrade_compatibility_is_constant,
)
from simulation.restarts import (
    a_bad_release_stops_at_its_canaries,
    budget_is_kept,
    casualties_come_first,
    deletes_only_outdated_pending_agents,
    deletes_only_settled_outdated_agents,
    others_that_are_not_ready_use_the_budget,
    rejects_only_with_evidence,
    restarts_are_recorded_first,
)
from simulation.writes import Write

if TYPE_CHECKING:
    from simulation.world import World

MAX_STATUS: Final = 24_000
"""In bytes of JSON, for the few nodes of the model."""
MAX_LIST: Final = 64
Invariant = Callable[["World", Write], Iterator[str]]


def only_the_leader_writes(world: "World", write: Write) -> Iterator[str]:
    """Two operators never act at once."""
    others = [other for other in world.processes if other is not write.process and other.may_act]
    if others or not write.process.may_act:
        yield f"{write.kind} by process {write.process.identity}"


def nothing_while_suspended(world: "World", write: Write) -> Iterator[str]:
    """While spec.suspend is true only the status is written; a deletion may end."""
    read = write.process.read
    if read is not None and read.spec.get("suspend") is True and write.kind != "write_status" and not read.deleting:
        yield f"{write.kind} although spec.suspend is true"


def watches_are_not_lost(world: "World", write: Write) -> Iterator[str]:
    """Nothing is applied and no agent is restarted while a watch is lost."""
    if write.kind in {"apply", "delete_pod"} and write.process.observed.lost_watches:
        yield f"{write.kind} while {write.process.observed.lost_watches[0]}"


def the_status_is_bounded(world: "World", write: Write) -> Iterator[str]:
    """The status can be parsed, has condition Ready, and is small."""
    if write.status is None:
        return
    status = parse_status(write.status)
    if status is None:
        yield f"the status cannot be parsed: {json.dumps(write.status)[:200]}"
        return
    if not any(condition.type == "Ready" for condition in status.conditions):
        yield "the status has no condition Ready"
    if (size := len(json.dumps(write.status))) > MAX_STATUS:
        yield f"the status has {size} bytes"
    yield from _long_lists(status)


def _long_lists(status: Status) -> Iterator[str]:
    for name, value in status:
        if isinstance(value, tuple) and len(value) > MAX_LIST:
            yield f"status.{name} has {len(value)} entries"


ON_WRITE: Final[tuple[Invariant, ...]] = (
    only_the_leader_writes,
    uninstalled_only_by_deletion,
    nothing_while_suspended,
    foreign_revisions_are_left_alone,
    applies_over_a_readable_newest,
    a_helm_that_may_still_run_is_waited_for,
    foreign_preflights_are_left_alone,
    watches_are_not_lost,
    deletes_only_outdated_pending_agents,
    deletes_only_settled_outdated_agents,
    restarts_are_recorded_first,
    budget_is_kept,
    others_that_are_not_ready_use_the_budget,
    casualties_come_first,
    a_bad_release_stops_at_its_canaries,
    rejects_only_with_evidence,
    rolls_back_to_an_older_verified_revision,
    no_rejected_release_is_retried,
    no_minor_is_skipped,
    running_pools_are_kept,
    upgrade_compatibility_is_constant,
    the_status_is_bounded,
)


def judge(world: "World", write: Write) -> Sequence[str]:
    """Return what a write violates, with the names of the invariants."""
    return [f"{rule.__name__}: {found}" for rule in ON_WRITE for found in rule(world, write)]
