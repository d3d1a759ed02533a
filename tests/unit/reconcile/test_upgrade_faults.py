"""Failures during an upgrade."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from builders import NODE, REF, VERSION, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase
from cilium_hybrid.ports import ClusterUnavailableError
from unit.upgraded import a_world_with_preflight, a_world_with_steps, reconcile_until, run_upgrade, upgrade
from unit.upgrading import LAST, NEXT, PATCH
from unit.world import OTHER_NODE, World, an_installed_world

UNCHANGED = [(1, "deployed", True)]


def _before_listing(_: World) -> None:
    """The versions are not listed yet."""


def _before_preflight(world: World) -> None:
    world.reconcile()


def _before_release(world: World) -> None:
    # The chart of the preflight check is cached by then.
    reconcile_until(world, lambda: world.status.preflight is not None and not world.preflights.observed.exists)


@pytest.mark.parametrize("reach", [_before_listing, _before_preflight], ids=["listing versions", "preflight check"])
def test_an_unavailable_registry_is_waited_for(reach: Callable[[World], None]) -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    reach(world)
    world.charts.outage = "the registry does not answer"
    pauses = []
    for _ in range(3):
        due = world.settle()
        assert due is not None
        pauses.append(due - world.clock.now())
        world.clock.advance_to(due)
    ready, history = world.ready, world.history
    world.charts.outage = None
    run_upgrade(world)

    assert pauses == [timedelta(seconds=seconds) for seconds in (5, 10, 20)]
    assert (ready.status, ready.reason) == ("False", Reason.CHART_UNAVAILABLE)
    assert "the registry does not answer (tried 3 times, next attempt at" in ready.message
    assert history == UNCHANGED
    assert world.status.version.running == NEXT


def test_an_unavailable_registry_blocks_only_charts_that_are_not_cached() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH, upgrade={"preflight": {"enabled": False}})
    world.charts.outage = "the registry does not answer"
    due = world.settle()
    ready, history = world.ready, world.history
    world.charts.outage = None
    assert due is not None
    world.clock.advance_to(due)
    run_upgrade(world)

    assert (ready.reason, history) == (Reason.CHART_UNAVAILABLE, UNCHANGED)
    assert world.status.version.running == PATCH


def test_the_release_uses_the_chart_of_the_preflight_check() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    _before_release(world)
    world.charts.outage = "the registry does not answer"
    world.settle()

    assert world.history == [(1, "superseded", True), (2, "deployed", True)]


@pytest.mark.parametrize(
    ("rendered", "which"),
    [
        pytest.param({}, "the new objects", id="new objects"),
        pytest.param(
            {1: [{"kind": "ConfigMap", "metadata": {"name": "old"}}]}, "the running objects", id="running objects"
        ),
    ],
)
def test_an_admission_policy_that_rejects_an_object_blocks_the_release(rendered: dict[int, Any], which: str) -> None:
    world = a_world_with_steps()
    world.releases.rendered.update(rendered)
    world.cluster.policies["ConfigMap old" if rendered else "DaemonSet cilium"] = "denied by policy x"
    upgrade(world, PATCH, upgrade={"preflight": {"enabled": False}})
    pauses = []
    for _ in range(3):
        due = world.settle()
        assert due is not None
        pauses.append((due - world.clock.now()).total_seconds())
        world.clock.advance_to(due)
    ready, history = world.ready, world.history
    world.cluster.policies.clear()
    run_upgrade(world)

    assert pauses == [5, 10, 20]
    assert (ready.status, ready.reason) == ("False", Reason.POLICY_REJECTED)
    assert f"the API server would reject {which}: " in ready.message
    assert "denied by policy x; nothing was changed; fix the admission policy (tried 3 times" in ready.message
    assert history == UNCHANGED
    assert world.status.version.running == PATCH


def test_further_rejected_objects_are_counted() -> None:
    world = a_world_with_steps()
    world.releases.rendered[1] = [{"kind": "ConfigMap", "metadata": {"name": name}} for name in "abc"]
    world.cluster.policies |= {f"ConfigMap {name}": "denied" for name in "abc"}
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()

    assert "ConfigMap a: denied and 2 more; nothing was changed" in world.ready.message


def test_an_install_has_no_dry_run() -> None:
    """An install replaces nothing, and the namespace of its objects may not exist yet."""
    world = World()
    world.cluster.policies["DaemonSet cilium"] = "denied by policy x"
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert world.history == UNCHANGED


def test_one_approval_covers_all_steps() -> None:
    world = a_world_with_steps()
    upgrade(world, LAST, upgrade={"approval": "Manual"})
    world.settle()
    ready, planned = world.ready, world.status.plan_digest
    assert planned is not None
    world.cluster.approve("sha256:of another plan")
    world.settle()
    stale, history, started = world.ready, world.history, len(world.preflights.started)
    world.cluster.approve(planned)
    run_upgrade(world)

    assert (ready.reason, stale.reason) == (Reason.AWAITING_APPROVAL, Reason.AWAITING_APPROVAL)
    assert planned in ready.message
    assert f"{VERSION} → {PATCH} → {NEXT} → {LAST}" in ready.message
    assert "=sha256:of another plan approves another plan" in stale.message
    assert (history, started) == (UNCHANGED, 0)
    assert world.status.version.running == LAST
    assert world.status.plan_digest == planned


def test_an_approval_is_valid_for_one_generation() -> None:
    spec = {"upgrade": {"approval": "Manual"}}
    world = a_world_with_steps()
    upgrade(world, PATCH, **spec)
    world.settle()
    planned = world.status.plan_digest
    assert planned is not None
    world.cluster.approve(planned)
    upgrade(world, PATCH, **spec, masquerade=False)
    world.settle()

    assert world.ready.reason is Reason.AWAITING_APPROVAL
    assert world.history == UNCHANGED


def test_a_rollback_of_a_step_restores_the_previous_step() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    reconcile_until(world, lambda: len(world.history) == 3)
    world.cluster.failure_message = "CrashLoopBackOff"
    reconcile_until(world, lambda: len(world.history) == 4)
    world.cluster.failure_message = ""
    run_upgrade(world)

    assert world.ready.reason is Reason.ROLLED_BACK
    assert world.cluster.deleted_pods[2:] == [f"cilium-{NODE}"] * 2
    assert world.status.version.running == PATCH
    assert [(step.version, step.phase) for step in world.status.plan] == [
        (PATCH, PlanPhase.DONE),
        (NEXT, PlanPhase.PENDING),
    ]


def test_no_action_starts_while_the_api_server_is_unavailable() -> None:
    world = a_world_with_preflight()
    world.releases.fault = ClusterUnavailableError("no answer")
    run_upgrade(world)

    assert world.status.version.running == NEXT


def test_with_rolling_update_the_next_minor_waits_for_the_daemonset() -> None:
    rolling_update = {"rollout": {"strategy": "RollingUpdate"}}
    world = a_world_with_steps(upgrade=rolling_update)
    upgrade(world, NEXT, upgrade=rolling_update)
    reconcile_until(world, lambda: "DaemonSet controller" in world.ready.message)
    waiting, history = world.ready, len(world.history)
    world.cluster.roll_out()
    reconcile_until(world, lambda: len(world.history) == 3 and "DaemonSet controller" in world.ready.message)
    world.cluster.roll_out()
    run_upgrade(world)

    assert waiting.reason is Reason.ROLLING_OUT
    assert f"waiting for the DaemonSet controller to restart {NODE}, {OTHER_NODE}" in waiting.message
    assert history == 2
    assert [step.phase for step in world.status.plan] == [PlanPhase.DONE, PlanPhase.DONE]
    assert world.cluster.deleted_pods == []


def test_agents_that_wait_for_the_canary_to_report_are_not_recorded_as_restarted() -> None:
    settings = {"preflight": {"enabled": False}, "rollout": {"soak": "10s"}}
    world = a_world_with_steps()
    world.cluster.silent = {NODE}
    upgrade(world, PATCH, upgrade=settings)
    reconcile_until(world, lambda: f"restarting {OTHER_NODE}" in world.ready.message)
    upgrade(world, PATCH, upgrade=settings, values={"debug": {"enabled": True}})
    reconcile_until(world, lambda: len(world.history) == 3)
    record = world.cluster.observe().record

    assert record is not None
    assert record.rollout is not None
    assert OTHER_NODE not in record.rollout.nodes
    assert world.cluster.deleted_pods == [f"cilium-{NODE}"]


def test_an_api_outage_does_not_count_against_the_progress_deadline() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.cluster.failure_message = "CrashLoopBackOff"
    reconcile_until(world, lambda: bool(world.cluster.deleted_pods))
    world.settle()
    world.clock.advance(minutes=30)
    world.reconcile()
    after_outage = world.ready
    for _ in range(4):
        world.clock.advance(seconds=10)
        world.cluster.crash()
        world.reconcile()

    assert after_outage.reason is Reason.ROLLING_OUT
    assert world.ready.reason is Reason.ROLLING_BACK


def test_a_path_with_too_many_steps_for_the_status_is_refused() -> None:
    world = World()
    for minor in range(5, 20):
        world.charts.publish(REF, f"1.{minor}.0")
    upgrade(world, "1.5.0", allowUnsupported=True)
    world.settle()
    upgrade(world, "1.19.0", allowUnsupported=True)
    world.reconcile()
    world.reconcile()

    assert world.status.observed_generation == 2


def test_a_restart_that_is_refused_names_no_node_as_restarted() -> None:
    """Otherwise the choice would be forgotten and made again each minute, with two writes of the status."""
    world = an_installed_world()
    world.cluster.agent_pod_rejected = ["exceeded quota: agents"]
    world.cluster.edit(a_raw_spec(values={"debug": {"enabled": True}}))
    world.settle()
    world.cluster.start_operator()
    world.settle()
    before = len(world.cluster.written)
    for _ in range(60):
        world.clock.advance(seconds=15)
        world.settle()
    written = world.cluster.written[before:]

    assert world.ready.reason is Reason.POLICY_REJECTED
    assert written
    assert [status["rollout"]["current"] for status in written] == [[]] * len(written)
