"""The preflight check of an upgrade from end to end."""

from datetime import timedelta

import pytest

from builders import NODE, REF, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Phase, PlanPhase, PreflightResult
from cilium_hybrid.ports import ApplyFailedError, UninstallFailedError
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL
from fake_charts import Manifests, PublishedChart, Values
from unit.upgraded import a_world_with_preflight, a_world_with_steps, reconcile_until, render, run_upgrade, upgrade
from unit.upgrading import NEXT, PATCH
from unit.world import OTHER_NODE, World

UNCHANGED = [(1, "deployed", True)]


def fail_the_check(world: World) -> None:
    """Let the check time out on one node."""
    world.preflights.run(NODE)
    world.preflights.run(OTHER_NODE, ready=False, failure_message="ErrImagePull")
    world.settle()
    for _ in range(61):
        world.clock.advance(seconds=10)
        world.settle()
    assert world.ready.reason is Reason.PREFLIGHT_FAILED


def test_a_failed_preflight_check_stops_the_upgrade_without_a_change() -> None:
    world = a_world_with_preflight()
    fail_the_check(world)
    stalled = condition(world.status, ConditionType.STALLED)
    passed = condition(world.status, ConditionType.PREFLIGHT_PASSED)

    assert (world.ready.reason, world.status.phase) == (Reason.PREFLIGHT_FAILED, Phase.BLOCKED)
    assert stalled is not None
    assert passed is not None
    assert (passed.status, passed.reason) == ("False", Reason.PREFLIGHT_FAILED)
    assert f"node {OTHER_NODE}: pod" in world.ready.message
    assert "ErrImagePull" in passed.message
    assert not world.preflights.observed.exists
    assert world.history == UNCHANGED
    assert [step.phase for step in world.status.plan] == [PlanPhase.PREFLIGHT, PlanPhase.PENDING]


def test_a_failed_preflight_check_is_not_retried_until_the_spec_changes() -> None:
    world = a_world_with_preflight()
    fail_the_check(world)
    for _ in range(3):
        world.clock.advance(hours=1)
        world.restart()
        world.settle()
    attempts = len(world.preflights.started)
    upgrade(world, NEXT, upgrade={"preflight": {"timeout": "20m"}})
    run_upgrade(world)

    assert attempts == 1
    assert world.status.version.running == NEXT


def test_a_disabled_preflight_check_does_not_run() -> None:
    world = a_world_with_preflight()
    fail_the_check(world)
    upgrade(world, NEXT, upgrade={"preflight": {"enabled": False}})
    run_upgrade(world)

    assert len(world.preflights.started) == 1
    assert world.status.version.running == NEXT


def test_the_timeout_counts_from_the_last_progress() -> None:
    world = a_world_with_preflight()
    results = []
    for minutes, node in ((9, NODE), (9, None), (2, None)):
        for _ in range(minutes * 3):
            world.clock.advance(seconds=20)
            world.settle()
        if node is not None:
            world.preflights.run(node)
            world.settle()
        assert world.status.preflight is not None
        results.append(world.status.preflight.result)

    assert results == [PreflightResult.RUNNING, PreflightResult.RUNNING, PreflightResult.FAILED]


def test_the_preflight_check_is_removed_with_the_resource() -> None:
    world = a_world_with_preflight()
    world.cluster.delete()
    world.settle()

    assert not world.preflights.observed.exists
    assert world.reconcile() is None
    assert world.history == UNCHANGED


def test_removing_the_preflight_check_is_retried_after_the_resource_is_deleted() -> None:
    world = a_world_with_preflight()
    world.cluster.delete()
    world.preflights.fault = UninstallFailedError("a hook failed")
    due = world.reconcile()
    exists = world.preflights.observed.exists
    world.reconcile()

    assert due is not None
    assert due > world.clock.now()
    assert exists
    assert not world.preflights.observed.exists


def test_the_preflight_check_is_removed_before_cilium_is_uninstalled() -> None:
    world = a_world_with_preflight(deletionPolicy="Uninstall")
    world.cluster.delete()
    world.reconcile()
    first = (world.preflights.observed.exists, world.history)
    world.cluster.delete_all_pods()
    world.settle()

    assert first == (False, UNCHANGED)
    assert world.history == []


def test_suspending_keeps_a_running_preflight_check_which_continues_afterwards() -> None:
    world = a_world_with_preflight()
    upgrade(world, NEXT, suspend=True)
    world.preflights.run(NODE, OTHER_NODE)
    world.settle()
    suspended = (world.ready.reason, world.preflights.removals, world.history)
    upgrade(world, NEXT)
    run_upgrade(world)

    assert suspended == (Reason.SUSPENDED, 0, UNCHANGED)
    assert len(world.preflights.started) == 2
    assert world.status.version.running == NEXT


@pytest.mark.parametrize("leaves", [None, "failed"], ids=["nothing left", "a failed release left"])
def test_a_preflight_check_that_helm_cannot_start_is_retried(leaves: str | None) -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.preflights.fault, world.preflights.leaves = ApplyFailedError("a webhook refused it"), leaves
    start = world.clock.now()
    due = world.settle()
    ready, history = world.ready, world.history
    assert due is not None
    run_upgrade(world)

    assert (ready.reason, history) == (Reason.APPLY_FAILED, UNCHANGED)
    assert due == start + timedelta(seconds=5)
    assert world.status.version.running == PATCH


def test_a_preflight_check_that_cannot_be_removed_blocks_the_release() -> None:
    world = a_world_with_preflight()
    world.preflights.run(NODE, OTHER_NODE)
    world.preflights.fault = UninstallFailedError("a hook failed")
    world.settle()
    ready, history = world.ready, world.history
    run_upgrade(world)

    assert (ready.reason, history) == (Reason.APPLY_FAILED, UNCHANGED)
    assert world.status.version.running == NEXT


def render_everywhere(values: Values) -> Manifests:
    """Render a preflight check that would run on cloud nodes."""
    return [{**found, "spec": {}} if HYBRID_LABEL in str(found) else found for found in render(values)]


def test_a_preflight_check_that_would_run_on_cloud_nodes_is_refused() -> None:
    world = a_world_with_steps()
    world.charts.publish(REF, PATCH, PublishedChart("sha256:x", renders=render_everywhere))
    upgrade(world, PATCH)
    world.settle()

    assert (world.ready.reason, world.status.phase) == (Reason.RENDER_REFUSED, Phase.BLOCKED)
    assert "use Cilium's chart in spec.chart" in world.ready.message
    assert world.preflights.started == []
    assert world.history == UNCHANGED
    # It never ran, and Ready has the cause.
    assert world.status.preflight is None
    assert condition(world.status, ConditionType.PREFLIGHT_PASSED) is None
    world.restart()
    world.settle()
    assert (world.ready.reason, world.status.preflight) == (Reason.RENDER_REFUSED, None)
    world.charts.publish(REF, PATCH, PublishedChart("sha256:y", renders=render))
    upgrade(world, PATCH, upgrade={"rollout": {"soak": "1s"}})
    world.settle()
    assert world.ready.reason is Reason.RENDER_REFUSED
    world.cluster.request("the chart was replaced")
    run_upgrade(world)
    assert world.status.version.running == PATCH


def test_a_leftover_preflight_check_is_removed_if_the_next_one_cannot_start() -> None:
    world = a_world_with_preflight()
    world.charts.publish(REF, PATCH, PublishedChart("sha256:x", renders=render_everywhere))
    upgrade(world, PATCH, masquerade=False)
    world.settle()

    assert world.ready.reason is Reason.RENDER_REFUSED
    assert world.status.preflight is None
    assert not world.preflights.observed.exists
    assert world.history == UNCHANGED


def test_an_api_outage_does_not_count_against_the_preflight_timeout() -> None:
    world = a_world_with_preflight()
    world.settle()
    world.cluster.outage = "no answer"
    world.clock.advance(minutes=20)
    world.reconcile()
    world.cluster.outage = None
    world.preflights.run(NODE, ready=False)
    world.settle()
    running = world.status.preflight
    world.preflights.run(NODE, OTHER_NODE)
    run_upgrade(world)

    assert running is not None
    assert running.result is PreflightResult.RUNNING
    assert world.status.version.running == NEXT


def test_a_preflight_result_of_another_chart_does_not_count() -> None:
    world = a_world_with_preflight()
    via = {"via": [{"version": PATCH}]}
    upgrade(world, NEXT, chart={"ref": "oci://elsewhere.example.com/cilium"}, upgrade=via)
    world.reconcile()
    world.preflights.run(NODE, OTHER_NODE)
    world.settle()
    world.clock.advance(minutes=1)
    world.settle()

    assert world.ready.reason is Reason.CHART_UNAVAILABLE
    assert world.status.preflight is not None
    assert world.status.preflight.result is PreflightResult.RUNNING
    assert world.history == UNCHANGED


def test_a_preflight_check_that_loses_its_approval_is_not_reported_as_running() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT, upgrade={"approval": "Manual"})
    world.settle()
    world.cluster.approve(world.status.plan_digest or "")
    reconcile_until(world, lambda: world.preflights.observed.release is not None)
    world.cluster.approve("")
    world.settle()

    assert world.ready.reason is Reason.AWAITING_APPROVAL
    assert not world.preflights.observed.exists
    assert world.status.preflight is None


def test_a_preflight_check_is_reported_while_its_start_is_retried() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.preflights.fault = ApplyFailedError("a webhook refused it")
    world.settle()

    assert world.ready.reason is Reason.APPLY_FAILED
    assert world.status.preflight is not None
    assert world.status.preflight.result is PreflightResult.RUNNING
