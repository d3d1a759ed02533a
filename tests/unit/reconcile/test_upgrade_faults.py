"""What stands in the way of an upgrade, and what is done about it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from builders import NODE, REF, VERSION, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase
from cilium_hybrid.ports import ClusterUnavailableError
from unit.upgraded import a_world_with_steps, nodes_answer, upgrade, walk, with_a_preflight
from unit.upgrading import LAST, NEXT, PATCH
from unit.world import World

UNTOUCHED = [(1, "deployed", True)]


def _to_the_way(_: World) -> None:
    """Nothing was asked of the registry yet."""


def _to_the_preflight(world: World) -> None:
    world.reconcile()


def _to_the_release(world: World) -> None:
    # Only the chart that is kept is known then: the one of the preflight serves the release as well.
    while world.status.preflight is None or world.preflights.seen.there:
        world.reconcile()
        nodes_answer(world)


@pytest.mark.parametrize("reach", [_to_the_way, _to_the_preflight], ids=["its versions", "the preflight"])
def test_a_registry_that_is_away_is_waited_for(reach: Callable[[World], None]) -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    reach(world)
    world.charts.away = "the registry does not answer"
    pauses = []
    for _ in range(3):
        due = world.settle()
        assert due is not None
        pauses.append(due - world.clock.now())
        world.clock.advance_to(due)
    said, history = world.ready, world.history
    world.charts.away = None
    walk(world)

    assert pauses == [timedelta(seconds=seconds) for seconds in (5, 10, 20)]
    assert (said.status, said.reason) == ("False", Reason.CHART_UNAVAILABLE)
    assert "the registry does not answer (tried 3 times, next at" in said.message
    assert history == UNTOUCHED
    assert world.status.version.running == NEXT


def test_a_registry_that_is_away_at_the_release_holds_up_what_was_not_kept() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH, upgrade={"preflight": {"enabled": False}})
    world.charts.away = "the registry does not answer"
    due = world.settle()
    said, history = world.ready, world.history
    world.charts.away = None
    assert due is not None
    world.clock.advance_to(due)
    walk(world)

    assert (said.reason, history) == (Reason.CHART_UNAVAILABLE, UNTOUCHED)
    assert world.status.version.running == PATCH


def test_the_chart_of_the_preflight_is_the_one_that_is_released() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    _to_the_release(world)
    world.charts.away = "the registry does not answer"
    world.settle()

    assert world.history == [(1, "superseded", True), (2, "deployed", True)]


@pytest.mark.parametrize(
    ("made", "whose"),
    [
        pytest.param({}, "what comes next", id="what comes"),
        pytest.param({1: [{"kind": "ConfigMap", "metadata": {"name": "old"}}]}, "what runs", id="what runs"),
    ],
)
def test_a_policy_that_rejects_it_changes_nothing(made: dict[int, Any], whose: str) -> None:
    world = a_world_with_steps()
    world.releases.made.update(made)
    world.cluster.policies["ConfigMap old" if made else "DaemonSet cilium"] = "denied by policy x"
    upgrade(world, PATCH, upgrade={"preflight": {"enabled": False}})
    pauses = []
    for _ in range(3):
        due = world.settle()
        assert due is not None
        pauses.append((due - world.clock.now()).total_seconds())
        world.clock.advance_to(due)
    said, history = world.ready, world.history
    world.cluster.policies.clear()
    walk(world)

    assert pauses == [5, 10, 20]
    assert (said.status, said.reason) == ("False", Reason.POLICY_REJECTED)
    assert f"the API server would reject {whose}: " in said.message
    assert "denied by policy x; nothing was changed: correct the policy (tried 3 times" in said.message
    assert history == UNTOUCHED
    assert world.status.version.running == PATCH


def test_more_that_a_policy_rejects_is_counted() -> None:
    world = a_world_with_steps()
    world.releases.made[1] = [{"kind": "ConfigMap", "metadata": {"name": name}} for name in "abc"]
    world.cluster.policies |= {f"ConfigMap {name}": "denied" for name in "abc"}
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()

    assert "ConfigMap a: denied and 2 more; nothing was changed" in world.ready.message


def test_an_install_is_not_rehearsed() -> None:
    """There is nothing that it could cut off half-way, and no namespace of its objects may be there yet."""
    world = World()
    world.cluster.policies["DaemonSet cilium"] = "denied by policy x"
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert world.history == UNTOUCHED


def test_one_approval_is_of_all_the_steps() -> None:
    world = a_world_with_steps()
    upgrade(world, LAST, upgrade={"approval": "Manual"})
    world.settle()
    said, planned = world.ready, world.status.plan_digest
    assert planned is not None
    world.cluster.approve("sha256:of another plan")
    world.settle()
    stale, history, started = world.ready, world.history, len(world.preflights.started)
    world.cluster.approve(planned)
    walk(world)

    assert (said.reason, stale.reason) == (Reason.AWAITING_APPROVAL, Reason.AWAITING_APPROVAL)
    assert planned in said.message
    assert f"{VERSION} → {PATCH} → {NEXT} → {LAST}" in said.message
    assert "sha256:of another plan is of another plan" in stale.message
    assert (history, started) == (UNTOUCHED, 0)
    assert world.status.version.running == LAST
    assert world.status.plan_digest == planned


def test_an_approval_is_of_one_generation_alone() -> None:
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
    assert world.history == UNTOUCHED


def test_a_way_back_after_a_step_goes_to_the_step_before() -> None:
    world = a_world_with_steps()
    upgrade(world, NEXT)
    while len(world.history) < 3:
        world.reconcile()
        nodes_answer(world)
    world.cluster.failure_message = "CrashLoopBackOff"
    while len(world.history) < 4:
        world.clock.advance(seconds=10)
        world.reconcile()
        nodes_answer(world)
    world.cluster.failure_message = ""
    walk(world)

    assert world.ready.reason is Reason.ROLLED_BACK
    assert world.cluster.ended[2:] == [f"cilium-{NODE}"] * 2
    assert world.status.version.running == PATCH
    assert [(step.version, step.phase) for step in world.status.plan] == [
        (PATCH, PlanPhase.DONE),
        (NEXT, PlanPhase.PENDING),
    ]


def test_nothing_is_asked_of_an_api_that_is_away() -> None:
    world = with_a_preflight()
    world.releases.fault = ClusterUnavailableError("no answer")
    walk(world)

    assert world.status.version.running == NEXT


def test_a_daemonset_that_rolls_out_by_itself_is_waited_for_before_a_minor_is_entered() -> None:
    by_itself = {"rollout": {"strategy": "RollingUpdate"}}
    world = a_world_with_steps(upgrade=by_itself)
    upgrade(world, NEXT, upgrade=by_itself)
    walk(world)
    waiting, history = world.ready, len(world.history)
    world.cluster.roll_out()
    walk(world)
    world.cluster.roll_out()
    walk(world)

    assert waiting.reason is Reason.ROLLING_OUT
    assert f"Cilium {PATCH} is not well on every connected node yet, and {NEXT} comes after that" in waiting.message
    assert history == 2
    assert [step.phase for step in world.status.plan] == [PlanPhase.DONE, PlanPhase.DONE]
    assert world.cluster.ended == []


def test_an_api_that_is_away_counts_against_no_rollout() -> None:
    world = a_world_with_steps()
    upgrade(world, PATCH)
    world.cluster.failure_message = "CrashLoopBackOff"
    while not world.cluster.ended:
        world.reconcile()
        nodes_answer(world)
    world.settle()
    world.clock.advance(minutes=30)
    world.reconcile()
    blind = world.ready
    for _ in range(4):
        world.clock.advance(seconds=10)
        world.reconcile()

    assert blind.reason is Reason.ROLLING_OUT
    assert world.ready.reason is Reason.ROLLING_BACK


def test_a_way_of_more_steps_than_a_status_has_room_for_is_no_fault() -> None:
    world = World()
    for minor in range(5, 20):
        world.charts.publish(REF, f"1.{minor}.0")
    upgrade(world, "1.5.0", allowUnsupported=True)
    world.settle()
    upgrade(world, "1.19.0", allowUnsupported=True)
    world.reconcile()
    world.reconcile()

    assert world.status.observed_generation == 2
