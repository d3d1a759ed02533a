"""When a rollout fails, and when it only waits or stalls."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from builders import NOW, a_cilium_node
from cilium_hybrid.api.status import RolloutStatus
from cilium_hybrid.plan.rollout.rollout import FAILURE_GRACE, NO_ROLLOUT, RolloutStep
from unit.plan.rollout.test_rollout import LATE, before, cluster, new, node, old, plan_of, restarted


def replace_status(status: RolloutStatus, **edit: Any) -> RolloutStatus:
    return status.model_copy(update=edit)


def test_an_updated_agent_that_stops_being_ready_restarts_the_deadline() -> None:
    late = before(updated=1, total=2, outdated=1, at=LATE)
    crashing = cluster(new("a", ready=False, failure_message="Crash"), old("b"))
    first = plan_of(crashing, late)

    assert first.step is RolloutStep.WAIT
    assert plan_of(crashing, first.status, now=NOW + FAILURE_GRACE).step is RolloutStep.FAILED


def test_a_node_that_was_unhealthy_before_neither_fails_nor_blocks_the_rollout() -> None:
    crash_message = {"ready": False, "failure_message": "Crash"}
    first = plan_of(cluster(old("a", **crash_message), old("b"), old("c")))
    after_b = plan_of(cluster(old("a", **crash_message), new("b"), old("c")), first.status)
    late = plan_of(cluster(new("a", **crash_message), new("b"), old("c")), after_b.status, now=NOW + timedelta(hours=1))
    all_restarted = plan_of(cluster(new("a", **crash_message), new("b"), new("c")), late.status)
    recovered = plan_of(cluster(new("a"), new("b"), old("c")), after_b.status)

    assert restarted(first) == ["b"]
    assert restarted(after_b) == ["a"]
    assert restarted(late) == ["c"]
    assert late.status is not None
    assert late.status.unhealthy_before == ("a",)
    assert all_restarted == NO_ROLLOUT
    assert recovered.status is not None
    assert recovered.status.unhealthy_before == ()


def test_a_group_of_unhealthy_nodes_has_no_canary() -> None:
    crash_message = {"ready": False, "failure_message": "Crash"}

    assert restarted(plan_of(cluster(old("a", **crash_message), old("b", **crash_message)))) == ["a"]


def test_the_rollout_waits_for_a_node_without_an_agent() -> None:
    nodes = [node("a"), node("b")]
    plan = plan_of(cluster(old("b"), nodes=nodes))

    assert plan.step is RolloutStep.WAIT
    assert plan.status is not None
    assert plan.status.current == ("a",)


@pytest.mark.parametrize(
    ("agent", "at", "expected"),
    [
        pytest.param({"ready": False}, NOW, RolloutStep.WAIT, id="the agent is starting"),
        pytest.param(
            {"ready": False}, LATE, RolloutStep.FAILED, id="the agent started but is not ready at the deadline"
        ),
        pytest.param({"ready": False, "started": False}, LATE, RolloutStep.STALLED, id="the agent did not start"),
        pytest.param(
            {"ready": False, "failure_message": "Crash"},
            NOW,
            RolloutStep.WAIT,
            id="the agent crashes within the grace period",
        ),
        pytest.param(
            {"ready": False, "failure_message": "Crash"},
            NOW - FAILURE_GRACE,
            RolloutStep.FAILED,
            id="the agent still crashes after the grace period",
        ),
        pytest.param(
            {"ready": False, "started": False, "failure_message": "ImagePullBackOff"},
            NOW - FAILURE_GRACE,
            RolloutStep.FAILED,
            id="the image cannot be pulled",
        ),
    ],
)
def test_a_slow_agent_has_not_failed(agent: dict[str, Any], at: datetime, expected: RolloutStep) -> None:
    plan = plan_of(cluster(new("a", **agent), old("b")), before(updated=0, total=2, outdated=1, at=at))

    assert plan.step is expected


def test_a_rollout_without_progress_is_stalled() -> None:
    late = before(updated=1, total=2, outdated=1, at=LATE)
    plan = plan_of(cluster(old("b"), nodes=[node("a"), node("b")]), replace_status(late, updated=0))

    assert plan.step is RolloutStep.STALLED
    assert plan.message == "no progress since 11:50Z: 0 of 2 connected nodes updated; waiting for a"


def test_the_deadline_starts_at_the_last_progress() -> None:
    agents = [new("a"), new("b", ready=False), old("c")]
    late = before(updated=1, total=3, outdated=1, at=LATE)

    assert plan_of(cluster(*agents), late).step is RolloutStep.FAILED
    assert plan_of(cluster(*agents), replace_status(late, updated=0)).step is RolloutStep.WAIT
    assert plan_of(cluster(*agents), replace_status(late, outdated=2)).step is RolloutStep.WAIT
    assert plan_of(cluster(*agents), replace_status(late, last_progress_at=NOW)).step is RolloutStep.WAIT


def test_a_failure_names_the_nodes_and_the_causes() -> None:
    crashing = {"ready": False, "failure_message": "CrashLoopBackOff: no kernel"}
    agents = [new("a", **crashing), new("b", ready=False), old("c")]
    plan = plan_of(cluster(*agents), before(outdated=1, at=LATE))

    assert plan.message == ("the new agent fails on a (CrashLoopBackOff: no kernel), b (started but not Ready)")


@pytest.mark.parametrize(
    "agent", [{"failure_message": "CrashLoopBackOff"}, {"crash_message": "CrashLoopBackOff: no kernel"}, {}]
)
def test_an_agent_that_waits_for_a_pod_cidr_is_not_a_failure_of_the_release(agent: dict[str, Any]) -> None:
    crashing = cluster(new("a", ready=False, **agent), old("b"))
    waiting = replace(crashing, cilium_nodes={"a": a_cilium_node("a", pod_cidrs=())})
    late = before(updated=0, total=2, outdated=1, at=LATE)

    assert plan_of(crashing, late).step is RolloutStep.FAILED
    assert plan_of(waiting, late).step is RolloutStep.STALLED


def test_an_unschedulable_agent_is_not_a_failure_of_the_release() -> None:
    missing = cluster(old("b"), nodes=[node("a"), node("b")])
    unplaced = replace(missing, unplaced={"a": "Unschedulable: Too many pods"})
    late = before(updated=0, total=2, outdated=1, at=LATE)

    assert plan_of(unplaced, late).step is RolloutStep.STALLED
    assert plan_of(unplaced, late) == plan_of(missing, late)
    assert plan_of(unplaced) == plan_of(missing)
