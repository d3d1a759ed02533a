"""Upgrades from end to end, with everything around the operator in memory."""

from typing import Any

import pytest

from builders import NODE, REF, VERSION, a_raw_spec, a_told, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import HistoryAction, Phase, PlanPhase, PreflightResult
from cilium_hybrid.ports import ApplyFailedError, ClusterUnavailableError
from fake_charts import PublishedChart
from unit.upgraded import a_world_with_steps, nodes_answer, renders, upgrade, walk
from unit.upgrading import LAST, NEXT, PATCH
from unit.world import OTHER_NODE, World

DONE = PlanPhase.DONE


def went(world: World) -> list[tuple[HistoryAction, str | None, str, str]]:
    """The history after the install."""
    return [(entry.action, entry.from_version, entry.to_version, entry.result) for entry in world.status.history[1:]]


def upgraded(*versions: str) -> list[tuple[HistoryAction, str | None, str, str]]:
    steps = zip((VERSION, *versions), versions, strict=False)
    return [(HistoryAction.UPGRADE, before, after, "Succeeded") for before, after in steps]


def plan(world: World) -> list[tuple[str, PlanPhase]]:
    return [(step.version, step.phase) for step in world.status.plan]


def end_of(world: World) -> Any:
    """All that the end of an upgrade is made of but the times."""
    record = world.cluster.records[-1]
    return world.history, went(world), plan(world), world.status.preflight, world.ready.message, record


@pytest.mark.parametrize(
    ("version", "steps"),
    [
        pytest.param(PATCH, [PATCH], id="a patch"),
        pytest.param("1.17.8-0", ["1.17.8-0"], id="a patch down"),
        pytest.param(NEXT, [PATCH, NEXT], id="a minor"),
        pytest.param(LAST, [PATCH, NEXT, LAST], id="two minors"),
    ],
)
def test_an_upgrade_walks_to_its_end(version: str, steps: list[str]) -> None:
    world = a_world_with_steps()
    world.charts.publish(REF, "1.17.8-0")
    upgrade(world, version, upgrade={"preflight": {"enabled": version != "1.17.8-0"}})
    walk(world)

    assert world.ready.reason is Reason.IN_SYNC
    assert (world.status.version.running, world.status.version.initial) == (version, "1.17")
    assert plan(world) == [(step, DONE) for step in steps]
    assert went(world) == upgraded(*steps)
    assert world.cluster.records[-1].verified == len(steps) + 1
    assert world.cluster.ended == [f"cilium-{NODE}", f"cilium-{OTHER_NODE}"] * len(steps)
    assert [values["upgradeCompatibility"] for values in world.releases.applied.values()] == ["1.17"] * (len(steps) + 1)


def test_a_minor_goes_step_by_step() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    pending, preflight, apply, rollout, done = PlanPhase
    told: list[tuple[Phase | None, list[PlanPhase]]] = []
    while not told or told[-1][0] is not Phase.READY:
        world.reconcile()
        nodes_answer(world)
        now = (world.status.phase, [step for _, step in plan(world)])
        # What is looked for in the registry is told of only once it was found.
        if world.status.observed_generation == 2 and (not told or told[-1] != now):
            told.append(now)

    assert told == [
        (Phase.PREFLIGHT, [preflight, pending]),
        (Phase.PREFLIGHT, [apply, pending]),
        (Phase.UPGRADING, [apply, pending]),
        (Phase.UPGRADING, [rollout, pending]),
        (Phase.PREFLIGHT, [done, preflight]),
        (Phase.PREFLIGHT, [done, apply]),
        (Phase.UPGRADING, [done, apply]),
        (Phase.UPGRADING, [done, rollout]),
        (Phase.READY, [done, done]),
    ]


def test_nothing_more_is_done_at_the_end() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    walk(world)
    written, asked = len(world.cluster.written), len(world.charts.pulls)
    world.charts.away = "the registry does not answer"
    world.clock.advance(hours=1)
    world.restart()
    world.settle()

    assert (len(world.cluster.written), len(world.charts.pulls)) == (written, asked)
    assert plan(world) == [(PATCH, DONE), (NEXT, DONE)]


def test_a_spec_that_asks_for_nothing_else_has_no_plan() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    walk(world)
    upgrade(world, NEXT, upgrade={"preflight": {"timeout": "9m"}})
    walk(world)

    assert (world.status.plan, world.status.plan_digest, world.status.preflight) == ((), None, None)
    assert condition(world.status, ConditionType.PREFLIGHT_PASSED) is None


def undisturbed() -> Any:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    walk(world)
    return end_of(world)


@pytest.mark.parametrize("restart", range(1, 16))
def test_an_operator_that_is_restarted_comes_to_the_same_end(restart: int) -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    passes = walk(world, restart)

    assert passes >= restart
    assert end_of(world) == undisturbed()
    assert len(world.preflights.started) == 2


def test_an_operator_that_is_restarted_before_every_pass_comes_to_the_same_end() -> None:
    world = a_world_with_steps()
    upgrade(world, LAST, upgrade={"via": [{"version": PATCH}, {"version": NEXT}]})
    walk(world, *range(60))

    assert plan(world) == [(PATCH, DONE), (NEXT, DONE), (LAST, DONE)]
    assert went(world) == upgraded(PATCH, NEXT, LAST)


def test_a_plan_goes_on_as_it_began_though_the_registry_has_more_and_the_operator_was_restarted() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    while len(world.history) < 2:
        world.reconcile()
        nodes_answer(world)
    world.charts.publish(REF, "1.17.16-0")
    world.restart()
    walk(world)

    assert went(world) == upgraded(PATCH, NEXT)


def test_a_helm_that_fails_is_tried_again_as_the_same_step() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT, upgrade={"preflight": {"enabled": False}})
    world.releases.fault, world.releases.leaves = ApplyFailedError("a webhook"), "failed"
    walk(world)

    assert went(world) == [(HistoryAction.UPGRADE, VERSION, PATCH, "Failed"), *upgraded(PATCH, NEXT)]
    assert plan(world) == [(PATCH, DONE), (NEXT, DONE)]


def test_a_helm_that_was_killed_is_unlocked_and_its_step_made_again() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH, upgrade={"preflight": {"enabled": False}})
    world.releases.fault, world.releases.leaves = ClusterUnavailableError("killed"), "pending-upgrade"
    world.reconcile()
    world.restart()
    walk(world)

    assert world.history == [(1, "superseded", True), (2, "failed", True), (3, "deployed", True)]
    assert world.status.version.running == PATCH


def test_a_version_that_was_left_out_is_looked_for_again() -> None:
    world = a_world_with_steps()
    for version in ("1.20.0-0", "1.21.0-0", "1.22.0-0"):
        if version != "1.21.0-0":
            world.charts.publish(REF, version)
    upgrade(world, "1.22.0-0", allowUnsupported=True)
    due = world.settle()
    refused, plan_then = world.ready, world.status.plan
    assert due is not None
    world.clock.advance_to(due)
    world.charts.publish(REF, "1.21.0-0")
    world.reconcile()
    world.reconcile()

    assert (refused.reason, plan_then) == (Reason.VERSION_UNSUPPORTED, ())
    assert "1.21 may not be skipped" in refused.message
    assert [step.version for step in world.status.plan][-2:] == ["1.21.0-0", "1.22.0-0"]
    assert world.history == [(1, "deployed", True)]


def test_a_spec_that_is_edited_in_mid_preflight_is_checked_anew() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.reconcile()
    world.preflights.run(NODE, OTHER_NODE)
    upgrade(world, PATCH, masquerade=False)
    world.reconcile()

    assert len(world.preflights.started) == 2
    assert world.status.preflight == a_told(PATCH, PreflightResult.RUNNING, expected=2)
    assert world.history == [(1, "deployed", True)]


def test_what_an_earlier_generation_left_passes_for_no_other() -> None:
    """The chart of the new one cannot be fetched, so its preflight was told of and not started."""
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.reconcile()
    world.preflights.run(NODE, OTHER_NODE)
    upgrade(world, "1.17.8-0", values={"debug": {"enabled": True}})
    due = world.settle()
    assert due is not None
    world.clock.advance_to(due)
    world.charts.publish(REF, "1.17.8-0", PublishedChart("sha256:x", renders=renders))
    world.reconcile()

    assert world.status.preflight is not None
    assert world.status.preflight.result is PreflightResult.RUNNING


def test_the_status_of_before_is_no_word_on_a_changed_spec() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    while world.status.preflight is None or world.status.preflight.result is PreflightResult.RUNNING:
        world.reconcile()
        nodes_answer(world)
    world.cluster.edit(a_raw_spec(version=PATCH, masquerade=False))
    world.reconcile()
    world.reconcile()

    assert world.history == [(1, "deployed", True)]
    assert len(world.preflights.started) == 2
