"""Upgrades from end to end, with everything around the operator in memory."""

from typing import Any

import pytest

from builders import NODE, REF, VERSION, a_preflight_status, a_raw_spec, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import HistoryAction, Phase, PlanPhase, PreflightResult
from cilium_hybrid.ports import ApplyFailedError, ClusterUnavailableError
from fake_charts import PublishedChart
from unit.upgraded import a_world_with_steps, reconcile_until, render, run_upgrade, upgrade
from unit.upgrading import LAST, NEXT, PATCH
from unit.world import OTHER_NODE, World

DONE = PlanPhase.DONE


def history_of(world: World) -> list[tuple[HistoryAction, str | None, str, str]]:
    """The history after the install."""
    return [(entry.action, entry.from_version, entry.to_version, entry.result) for entry in world.status.history[1:]]


def upgraded(*versions: str) -> list[tuple[HistoryAction, str | None, str, str]]:
    steps = zip((VERSION, *versions), versions, strict=False)
    return [(HistoryAction.UPGRADE, before, after, "Succeeded") for before, after in steps]


def plan(world: World) -> list[tuple[str, PlanPhase]]:
    return [(step.version, step.phase) for step in world.status.plan]


def result_of(world: World) -> Any:
    """The result of an upgrade, except for times."""
    record = world.cluster.records[-1]
    return world.history, history_of(world), plan(world), world.status.preflight, world.ready.message, record


@pytest.mark.parametrize(
    ("version", "steps"),
    [
        pytest.param(PATCH, [PATCH], id="a patch"),
        pytest.param("1.17.8-0", ["1.17.8-0"], id="a patch down"),
        pytest.param(NEXT, [PATCH, NEXT], id="a minor"),
        pytest.param(LAST, [PATCH, NEXT, LAST], id="two minors"),
    ],
)
def test_an_upgrade_runs_to_its_end(version: str, steps: list[str]) -> None:
    world = a_world_with_steps()
    world.charts.publish(REF, "1.17.8-0")
    upgrade(world, version, upgrade={"preflight": {"enabled": version != "1.17.8-0"}})
    run_upgrade(world)

    assert world.ready.reason is Reason.IN_SYNC
    assert (world.status.version.running, world.status.version.initial) == (version, "1.17")
    assert plan(world) == [(step, DONE) for step in steps]
    assert history_of(world) == upgraded(*steps)
    assert world.cluster.records[-1].verified == len(steps) + 1
    assert world.cluster.deleted_pods == [f"cilium-{NODE}", f"cilium-{OTHER_NODE}"] * len(steps)
    assert [values["upgradeCompatibility"] for values in world.releases.applied.values()] == ["1.17"] * (len(steps) + 1)


def test_a_minor_upgrade_runs_step_by_step() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    pending, preflight, apply, rollout, done = PlanPhase
    phases: list[tuple[Phase | None, list[PlanPhase]]] = []

    def ready() -> bool:
        now = (world.status.phase, [step for _, step in plan(world)])
        # The plan is reported once the versions are listed.
        if world.status.observed_generation == 2 and (not phases or phases[-1] != now):
            phases.append(now)
        return bool(phases) and phases[-1][0] is Phase.READY

    reconcile_until(world, ready)

    assert phases == [
        (Phase.PREFLIGHT, [preflight, pending]),
        (Phase.PREFLIGHT, [apply, pending]),
        (Phase.UPGRADING, [apply, pending]),
        (Phase.UPGRADING, [rollout, pending]),
        (Phase.UPGRADING, [done, pending]),
        (Phase.PREFLIGHT, [done, preflight]),
        (Phase.PREFLIGHT, [done, apply]),
        (Phase.UPGRADING, [done, apply]),
        (Phase.UPGRADING, [done, rollout]),
        (Phase.READY, [done, done]),
    ]


def a_world_with_a_silent_canary() -> World:
    """Both nodes are canaries and were restarted; one of them does not renew its Lease."""
    world = a_world_with_steps()
    upgrade(world, PATCH, upgrade={"rollout": {"canary": 2, "maxUnavailable": 2, "soak": "5s"}})
    world.cluster.silent = {OTHER_NODE}
    reconcile_until(world, lambda: len(world.cluster.deleted_pods) == 2)
    return world


def test_a_revision_is_verified_once_its_last_canaries_have_reported() -> None:
    world = a_world_with_a_silent_canary()
    started = world.clock.now()
    reconcile_until(world, lambda: (world.clock.now() - started).total_seconds() >= 30)
    silent = world.cluster.records[-1].verified
    world.cluster.silent = set()
    run_upgrade(world)

    assert (silent, world.cluster.records[-1].verified) == (1, 2)
    assert (world.clock.now() - started).total_seconds() < 60
    assert world.cluster.records[-1].rollout is None
    assert world.status.rollout is None
    assert world.ready.reason is Reason.IN_SYNC


def test_a_mistake_in_the_spec_does_not_prolong_the_wait_for_a_canary() -> None:
    world = a_world_with_a_silent_canary()
    started = world.clock.now()
    reconcile_until(world, lambda: (world.clock.now() - started).total_seconds() >= 10)
    upgrade(world, "9.9.9")
    reconcile_until(world, lambda: world.ready.reason is Reason.VERSION_UNSUPPORTED)

    assert world.cluster.records[-1].verified == 2
    assert (world.clock.now() - started).total_seconds() <= 62


def test_nothing_changes_after_the_upgrade() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    run_upgrade(world)
    written, pulled = len(world.cluster.written), len(world.charts.pulls)
    world.charts.outage = "the registry does not answer"
    world.clock.advance(hours=1)
    world.restart()
    world.settle()

    assert (len(world.cluster.written), len(world.charts.pulls)) == (written, pulled)
    assert plan(world) == [(PATCH, DONE), (NEXT, DONE)]


def test_a_spec_without_a_change_keeps_the_finished_plan() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    run_upgrade(world)
    upgrade(world, NEXT, upgrade={"preflight": {"timeout": "9m"}})
    run_upgrade(world)

    assert (plan(world), world.status.preflight) == ([(PATCH, DONE), (NEXT, DONE)], None)
    assert len(world.preflights.started) == 2
    assert condition(world.status, ConditionType.PREFLIGHT_PASSED) is None


def without_restart() -> Any:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    run_upgrade(world)
    return result_of(world)


@pytest.mark.parametrize("restart", range(1, 16))
def test_an_upgrade_with_one_restart_has_the_same_result(restart: int) -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    reconciliations = run_upgrade(world, restart)

    assert reconciliations >= restart
    assert result_of(world) == without_restart()
    assert len(world.preflights.started) == 2


def test_an_upgrade_with_a_restart_before_every_reconciliation_has_the_same_result() -> None:
    world = a_world_with_steps()
    upgrade(world, LAST, upgrade={"via": [{"version": PATCH}, {"version": NEXT}]})
    run_upgrade(world, *range(60))

    assert plan(world) == [(PATCH, DONE), (NEXT, DONE), (LAST, DONE)]
    assert history_of(world) == upgraded(PATCH, NEXT, LAST)


def test_a_plan_continues_unchanged_despite_newer_versions_and_a_restart() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    reconcile_until(world, lambda: len(world.history) == 2)
    world.charts.publish(REF, "1.17.16-0")
    world.restart()
    run_upgrade(world)

    assert history_of(world) == upgraded(PATCH, NEXT)


def test_a_failed_step_is_retried() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT, upgrade={"preflight": {"enabled": False}})
    world.releases.fault, world.releases.leaves = ApplyFailedError("a webhook"), "failed"
    run_upgrade(world)

    assert history_of(world) == [(HistoryAction.UPGRADE, VERSION, PATCH, "Failed"), *upgraded(PATCH, NEXT)]
    assert plan(world) == [(PATCH, DONE), (NEXT, DONE)]


def test_an_interrupted_step_is_unlocked_and_retried() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH, upgrade={"preflight": {"enabled": False}})
    world.releases.fault, world.releases.leaves = ClusterUnavailableError("killed"), "pending-upgrade"
    world.reconcile()
    world.restart()
    run_upgrade(world)

    assert world.history == [(1, "superseded", True), (2, "failed", True), (3, "deployed", True)]
    assert world.status.version.running == PATCH


def test_a_missing_version_is_looked_up_again() -> None:
    world = a_world_with_steps()
    for version in ("1.20.0-0", "1.21.0-0", "1.22.0-0"):
        if version != "1.21.0-0":
            world.charts.publish(REF, version)
    upgrade(world, "1.22.0-0", allowUnsupported=True)
    due = world.settle()
    refused, plan_before = world.ready, world.status.plan
    assert due is not None
    world.clock.advance_to(due)
    world.charts.publish(REF, "1.21.0-0")
    world.reconcile()
    world.reconcile()

    assert (refused.reason, [step.version for step in plan_before]) == (Reason.VERSION_UNSUPPORTED, [VERSION])
    assert "must not skip 1.21" in refused.message
    assert [step.version for step in world.status.plan][-2:] == ["1.21.0-0", "1.22.0-0"]
    assert world.history == [(1, "deployed", True)]


def test_a_spec_that_changes_during_the_preflight_check_is_checked_again() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.reconcile()
    world.preflights.run(NODE, OTHER_NODE)
    upgrade(world, PATCH, masquerade=False)
    world.reconcile()

    assert len(world.preflights.started) == 2
    running = world.status.preflight
    assert running is not None
    assert running.model_copy(update={"digest": None}) == a_preflight_status(PATCH, PreflightResult.RUNNING, expected=2)
    assert world.history == [(1, "deployed", True)]


def test_a_leftover_preflight_check_does_not_pass_for_another_generation() -> None:
    """The new chart cannot be fetched, so its preflight check is reported but not started."""
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.reconcile()
    world.preflights.run(NODE, OTHER_NODE)
    upgrade(world, "1.17.8-0", values={"debug": {"enabled": True}})
    due = world.settle()
    assert due is not None
    world.clock.advance_to(due)
    world.charts.publish(REF, "1.17.8-0", PublishedChart("sha256:x", renders=render))
    world.reconcile()

    assert world.status.preflight is not None
    assert world.status.preflight.result is PreflightResult.RUNNING


def test_an_earlier_preflight_result_does_not_count_for_a_changed_spec() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    reconcile_until(
        world,
        lambda: world.status.preflight is not None and world.status.preflight.result is not PreflightResult.RUNNING,
    )
    world.cluster.edit(a_raw_spec(version=PATCH, masquerade=False))
    world.reconcile()
    world.reconcile()

    assert world.history == [(1, "deployed", True)]
    assert len(world.preflights.started) == 2
