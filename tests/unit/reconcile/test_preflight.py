"""The preflight of an upgrade from end to end: what it finds, and whoever else wants it gone."""

from datetime import timedelta

import pytest

from builders import NODE, NOW, REF, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Phase, PlanPhase, PreflightResult
from cilium_hybrid.ports import ApplyFailedError, UninstallFailedError
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL
from fake_charts import Manifests, PublishedChart, Values
from unit.upgraded import a_world_with_steps, renders, upgrade, walk, with_a_preflight
from unit.upgrading import NEXT, PATCH
from unit.world import OTHER_NODE, World

UNTOUCHED = [(1, "deployed", True)]


def fails(world: World) -> None:
    """A check is not ready in time."""
    world.preflights.run(NODE)
    world.preflights.run(OTHER_NODE, ready=False, failure_message="ErrImagePull")
    world.settle()
    for _ in range(61):
        world.clock.advance(seconds=10)
        world.settle()
    assert world.ready.reason is Reason.PREFLIGHT_FAILED


def test_a_preflight_that_fails_ends_it_and_nothing_was_changed() -> None:
    world = with_a_preflight()
    fails(world)
    stalled = condition(world.status, ConditionType.STALLED)
    passed = condition(world.status, ConditionType.PREFLIGHT_PASSED)

    assert (world.ready.reason, world.status.phase) == (Reason.PREFLIGHT_FAILED, Phase.BLOCKED)
    assert stalled is not None
    assert passed is not None
    assert (passed.status, passed.reason) == ("False", Reason.PREFLIGHT_FAILED)
    assert f"node {OTHER_NODE}: pod" in world.ready.message
    assert "ErrImagePull" in passed.message
    assert not world.preflights.seen.there
    assert world.history == UNTOUCHED
    assert [step.phase for step in world.status.plan] == [PlanPhase.PREFLIGHT, PlanPhase.PENDING]


def test_a_preflight_that_failed_is_not_tried_again_before_the_spec_changes() -> None:
    world = with_a_preflight()
    fails(world)
    for _ in range(3):
        world.clock.advance(hours=1)
        world.restart()
        world.settle()
    tried = len(world.preflights.started)
    upgrade(world, NEXT, upgrade={"preflight": {"timeout": "20m"}})
    walk(world)

    assert tried == 1
    assert world.status.version.running == NEXT


def test_a_preflight_runs_again_for_nobody_once_it_is_switched_off() -> None:
    world = with_a_preflight()
    fails(world)
    upgrade(world, NEXT, upgrade={"preflight": {"enabled": False}})
    walk(world)

    assert len(world.preflights.started) == 1
    assert world.status.version.running == NEXT


def test_its_time_counts_since_progress_and_survives_a_restart() -> None:
    world = with_a_preflight()
    results = []
    for advance, node in ((9, NODE), (9, None), (2, None)):
        world.clock.advance(minutes=advance)
        if node is not None:
            world.preflights.run(node)
        world.restart()
        world.settle()
        assert world.status.preflight is not None
        results.append(world.status.preflight.result)

    assert results == [PreflightResult.RUNNING, PreflightResult.RUNNING, PreflightResult.FAILED]


def test_a_preflight_goes_with_the_resource() -> None:
    world = with_a_preflight()
    world.cluster.delete()
    world.settle()

    assert not world.preflights.seen.there
    assert world.reconcile() is None
    assert world.history == UNTOUCHED


def test_a_preflight_that_cannot_be_ended_is_tried_again_though_the_resource_is_gone() -> None:
    world = with_a_preflight()
    world.cluster.delete()
    world.preflights.fault = UninstallFailedError("a hook failed")
    due = world.reconcile()
    there = world.preflights.seen.there
    world.reconcile()

    assert due is not None
    assert due > world.clock.now()
    assert there
    assert not world.preflights.seen.there


def test_a_preflight_goes_before_cilium_is_uninstalled() -> None:
    world = with_a_preflight(deletionPolicy="Uninstall")
    world.cluster.delete()
    world.reconcile()
    first = (world.preflights.seen.there, world.history)
    world.cluster.end_pods()
    world.settle()

    assert first == (False, UNTOUCHED)
    assert world.history == []


def test_suspended_in_mid_preflight_nothing_is_changed_and_it_runs_anew_after_it() -> None:
    world = with_a_preflight()
    upgrade(world, NEXT, suspend=True)
    world.preflights.run(NODE, OTHER_NODE)
    world.settle()
    suspended = (world.ready.reason, world.preflights.ended, world.history)
    upgrade(world, NEXT)
    walk(world)

    assert suspended == (Reason.SUSPENDED, 0, UNTOUCHED)
    assert len(world.preflights.started) == 3
    assert world.status.version.running == NEXT


@pytest.mark.parametrize("leaves", [None, "failed"], ids=["nothing", "a release that failed"])
def test_a_preflight_that_helm_cannot_start_is_tried_again(leaves: str | None) -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.preflights.fault, world.preflights.leaves = ApplyFailedError("a webhook refused it"), leaves
    due = world.settle()
    said, history = world.ready, world.history
    assert due is not None
    walk(world)

    assert (said.reason, history) == (Reason.APPLY_FAILED, UNTOUCHED)
    assert due == NOW + timedelta(seconds=5)
    assert world.status.version.running == PATCH


def test_a_preflight_that_cannot_be_taken_away_holds_up_the_release() -> None:
    world = with_a_preflight()
    world.preflights.run(NODE, OTHER_NODE)
    world.preflights.fault = UninstallFailedError("a hook failed")
    world.settle()
    said, history = world.ready, world.history
    walk(world)

    assert (said.reason, history) == (Reason.APPLY_FAILED, UNTOUCHED)
    assert world.status.version.running == NEXT


def everywhere(values: Values) -> Manifests:
    """A preflight that would run on cloud nodes."""
    return [{**found, "spec": {}} if HYBRID_LABEL in str(found) else found for found in renders(values)]


def test_a_preflight_that_is_none_of_ciliums_waits_for_a_person() -> None:
    world = a_world_with_steps()
    world.charts.publish(REF, PATCH, PublishedChart("sha256:x", renders=everywhere))
    upgrade(world, PATCH)
    world.settle()

    assert (world.ready.reason, world.status.phase) == (Reason.RENDER_REFUSED, Phase.BLOCKED)
    assert "correct spec.chart" in world.ready.message
    assert world.preflights.started == []
    assert world.history == UNTOUCHED
    # It never ran, and Ready has the cause.
    assert world.status.preflight is None
    assert condition(world.status, ConditionType.PREFLIGHT_PASSED) is None
    world.restart()
    world.settle()
    assert (world.ready.reason, world.status.preflight) == (Reason.RENDER_REFUSED, None)
    world.charts.publish(REF, PATCH, PublishedChart("sha256:y", renders=renders))
    upgrade(world, PATCH, upgrade={"rollout": {"soak": "1s"}})
    walk(world)
    assert world.status.version.running == PATCH


def test_the_preflight_before_goes_where_the_next_cannot_start() -> None:
    world = with_a_preflight()
    world.charts.publish(REF, PATCH, PublishedChart("sha256:x", renders=everywhere))
    upgrade(world, PATCH, masquerade=False)
    world.settle()

    assert world.ready.reason is Reason.RENDER_REFUSED
    assert world.status.preflight is None
    assert not world.preflights.seen.there
    assert world.history == UNTOUCHED


def test_an_api_that_is_away_counts_against_no_preflight() -> None:
    world = with_a_preflight()
    world.settle()
    world.cluster.away = "no answer"
    world.clock.advance(minutes=20)
    world.reconcile()
    world.cluster.away = None
    world.preflights.run(NODE, ready=False)
    world.settle()
    running = world.status.preflight
    world.preflights.run(NODE, OTHER_NODE)
    walk(world)

    assert running is not None
    assert running.result is PreflightResult.RUNNING
    assert world.status.version.running == NEXT


def test_a_preflight_of_a_chart_from_elsewhere_says_nothing_of_this_one() -> None:
    world = with_a_preflight()
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
    assert world.history == UNTOUCHED


def test_a_preflight_that_ends_with_its_approval_is_told_to_run_no_more() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT, upgrade={"approval": "Manual"})
    world.settle()
    world.cluster.approve(world.status.plan_digest or "")
    while world.preflights.seen.release is None:
        world.reconcile()
    world.cluster.approve("")
    world.settle()

    assert world.ready.reason is Reason.AWAITING_APPROVAL
    assert not world.preflights.seen.there
    assert world.status.preflight is None


def test_a_preflight_whose_start_is_tried_again_is_told_of_meanwhile() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.preflights.fault = ApplyFailedError("a webhook refused it")
    world.settle()

    assert world.ready.reason is Reason.APPLY_FAILED
    assert world.status.preflight is not None
    assert world.status.preflight.result is PreflightResult.RUNNING
