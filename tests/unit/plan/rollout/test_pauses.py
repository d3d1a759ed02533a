"""What stops a rollout without evidence against the revision, and how it resumes."""

import pytest

from builders import DIGEST, OTHER_DIGEST
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.observation import UnplacedAgent
from cilium_hybrid.plan.rollout.plan import RolloutStep
from unit.plan.rollout.site import CRASHING, READY, REFUSED, STARTED, STARTING, Site, a_site, settings

QUOTA = 'pods "cilium-x" is forbidden: exceeded quota: pods'


def without_pod(**facts: object) -> Site:
    """A site whose canary a gets no pod after its restart."""
    site = a_site("abc", **facts)  # type: ignore[arg-type]
    site.tick()
    del site.agents["a"]
    return site


def test_a_restarted_node_without_a_pod_stops_the_rollout_with_the_words_of_the_controller() -> None:
    site = without_pod()
    site.create_failure = QUOTA
    waiting = site.run(20)
    stalled = site.tick(10)
    site.create("a", **READY)
    site.until(RolloutStep.DONE)

    assert waiting.step is RolloutStep.WAIT
    assert stalled.step is RolloutStep.STALLED
    assert stalled.message == f"no agent pod on a after its restart: {QUOTA}"
    assert site.restarted == ["a", "b", "c"]


def test_a_restarted_node_whose_pod_does_not_fit_stops_the_rollout_with_the_words_of_the_scheduler() -> None:
    site = without_pod()
    site.unplaced["a"] = "0/3 nodes are available: 1 Insufficient memory"

    assert site.run(60).message == "no agent pod on a after its restart: 0/3 nodes are available: 1 Insufficient memory"


def test_no_second_node_is_restarted_while_one_gets_no_pod() -> None:
    site = a_site("abcd", rules=settings(maxUnavailable=3, canary=3))
    site.disconnect("b", "c", "d")
    site.tick()
    del site.agents["a"]
    site.create_failure = QUOTA
    site.reconnect("b", "c", "d")
    for name in "bcd":
        site.agent(name, ready=True)
    site.tick(10)

    assert site.restarted == ["a"]


def test_a_restarted_node_without_a_pod_or_words_stops_the_rollout_at_its_deadline() -> None:
    site = without_pod()

    assert site.run(590).step is RolloutStep.WAIT
    assert site.run(10).message == "the agent on a is not Ready since its restart (no agent pod)"


def test_another_node_without_a_pod_does_not_stop_the_rollout() -> None:
    site = a_site("abcd", rules=settings(maxUnavailable=2))
    del site.agents["d"]
    site.unplaced["d"] = "Insufficient cpu"
    plan = site.run(150)

    assert site.restarted == ["a", "b", "c"]
    assert plan.findings == ("the agent fails on d (Insufficient cpu), which this rollout did not restart",)


def test_an_outage_of_a_site_does_not_stop_the_other_groups() -> None:
    site = Site({"a1": "a", "a2": "a", "b1": "b", "b2": "b"}, rules=settings(maxUnavailable=2))
    site.tick()
    site.disconnect("a1", "a2")
    site.run(700)
    during = list(site.restarted)
    site.reconnect("a1", "a2")
    site.agent("a1", ready=True)
    site.agent("a2", ready=True)
    site.until(RolloutStep.DONE)

    assert during == ["a1", "b1", "b2"]
    assert sorted(site.restarted) == ["a1", "a2", "b1", "b2"]


def test_a_node_lost_in_an_outage_still_uses_the_budget() -> None:
    site = Site({"a1": "a", "a2": "a", "b1": "b"})
    site.tick()
    site.disconnect("a1", "a2")
    plan = site.run(900)

    assert site.restarted == ["a1"]
    assert plan.step is RolloutStep.STALLED
    assert "waiting for a1 (node does not report to the API server)" in plan.message


def test_a_node_that_was_away_before_makes_no_outage_of_a_lost_canary() -> None:
    site = Site({"a1": "a", "a2": "a", "a3": "a", "b1": "b"}, rules=settings(maxUnavailable=2))
    site.disconnect("a2")
    site.tick()
    site.disconnect("a1")
    plan = site.run(700)

    assert plan.message.startswith("a1 lost contact after its restart")
    assert site.restarted == ["a1"]


def test_a_lost_node_that_is_deleted_lets_the_rollout_continue_with_one_other_canary() -> None:
    site = a_site("abcd")
    site.tick()
    site.disconnect("a")
    site.run(700)
    site.delete("a")
    site.until(RolloutStep.DONE)

    assert site.restarted == ["a", "b", "c", "d"]


def test_a_second_canary_that_is_deleted_stops_the_rollout() -> None:
    site = a_site("abcd")
    site.tick()
    site.tick(10)
    site.delete("a")
    site.tick(10)
    site.tick(10)
    site.delete("b")
    plan = site.run(600)

    assert site.restarted == ["a", "b"]
    assert plan.step is RolloutStep.STALLED
    assert plan.message.startswith("the Nodes of 2 canaries were deleted or lost their label during this rollout")


def test_a_lost_node_has_no_effect_on_the_next_configuration_once_it_is_deleted() -> None:
    site = a_site("abc")
    site.tick()
    site.disconnect("a")
    site.run(700)
    site.digest = "sha256:next"
    blocked = site.run(100)
    site.delete("a")
    site.tick(10)

    assert blocked.message == (
        "0 of 2 connected nodes updated; waiting for a (node does not report to the API server), "
        "which an earlier revision left not Ready"
    )
    assert site.restarted == ["a", "b"]


def test_a_casualty_is_restarted_first_and_must_settle() -> None:
    site = a_site("bcd", new=lambda _: CRASHING)
    site.join("a", digest=OTHER_DIGEST)
    site.disconnect("a")
    site.until(RolloutStep.FAILED)
    site.reconnect("a")
    site.agent("a", ready=True)
    site.digest, site.new = "sha256:next", lambda _: STARTED
    site.run(100)
    before = list(site.restarted)
    site.agent("b", ready=True)
    site.run(20)
    soaking = list(site.restarted)
    site.run(20)

    assert before == ["b", "b"]
    assert soaking == ["b", "b"]
    assert site.restarted == ["b", "b", "a"]


def test_a_casualty_that_recovers_through_its_new_pod_needs_no_restart() -> None:
    site = a_site("ab", new=lambda _: CRASHING)
    site.until(RolloutStep.FAILED)
    site.digest, site.new = "sha256:next", lambda _: READY
    site.replace_pod("a")
    site.until(RolloutStep.DONE)

    assert site.restarted == ["a", "b"]


def test_a_canary_that_was_healthy_is_no_casualty_of_an_edit_during_its_soak_time() -> None:
    site = a_site("abc")
    site.tick()
    site.tick(10)
    site.digest = "sha256:next"
    plan = site.tick(10)

    assert plan.record is not None
    assert plan.record.casualties == ()


@pytest.mark.parametrize("new", [STARTING, {"ready": False, "failure_message": "ImagePullBackOff: i/o timeout"}])
def test_no_rollout_waits_without_an_end(new: dict[str, object]) -> None:
    site = a_site("abc", new=lambda _: new)

    assert site.run(620).step is RolloutStep.STALLED


def test_a_stalled_rollout_resumes_when_the_cause_clears() -> None:
    site = a_site("abc", daemonset_updated=False)
    stalled = site.run(700)
    site.daemonset_updated = True

    assert stalled.message == (
        "0 of 3 connected nodes updated; no progress for 10m: waiting for DaemonSet cilium to be updated"
    )
    assert site.tick(10).step is RolloutStep.RESTART


def test_an_agent_that_is_ready_off_and_on_does_not_keep_the_rollout_going() -> None:
    site = a_site("abc")
    site.tick()
    site.tick(10)
    for ready in (False, True) * 100:
        site.agent("a", ready=ready)
        plan = site.tick(10)

    assert site.restarted == ["a"]
    assert plan.step is RolloutStep.STALLED


def test_a_canary_that_keeps_exiting_is_a_casualty_even_while_it_is_ready() -> None:
    site = a_site("abc", new=lambda _: CRASHING)
    site.until(RolloutStep.FAILED)
    site.agent("a", ready=True, failure_message="")
    site.digest = "sha256:next"
    plan = site.tick(10)

    assert plan.record is not None
    assert plan.record.casualties == ("a",)


@pytest.mark.parametrize(("exits", "step"), [(0, RolloutStep.FAILED), (1, RolloutStep.WAIT)])
def test_a_canary_that_an_edit_met_while_it_started_is_evidence_unless_it_had_crashed(
    exits: int, step: RolloutStep
) -> None:
    """The revision before may have harmed a node on which its agent crashed, but not one on which it only started."""
    site = a_site("abc", new=lambda _: STARTED)
    site.tick()
    site.tick(2)
    site.digest, site.new = "sha256:next", lambda _: CRASHING
    edited = site.tick(1)
    site.agent("a", ready=True, exits=exits)
    site.tick(3)
    plan = site.run(30)

    assert edited.record is not None
    assert edited.record.casualties == ("a",)
    assert site.restarted == ["a", "a"]
    assert plan.step is step


def test_a_node_whose_image_the_registry_refused_returns_at_once_on_the_way_back() -> None:
    """No other agent of it can come of such a pod, so there is no reason to wait for two minutes."""
    site = a_site("abc", new=lambda _: REFUSED)
    site.until(RolloutStep.FAILED)
    site.digest, site.new, site.judged, site.rolling_back = OTHER_DIGEST, lambda _: READY, False, True
    site.tick(1)
    site.tick(1)

    assert site.restarted == ["a", "a"]


def test_a_deadline_below_two_minutes_does_not_end_the_wait_for_an_agent_that_is_restarted_once_it_is_ill() -> None:
    site = a_site("ab", rules=settings(progressDeadline="1m"), new=lambda _: STARTED)
    site.until(RolloutStep.FAILED)
    site.digest, site.new, site.judged, site.rolling_back = OTHER_DIGEST, lambda _: READY, False, True
    site.unready_for = {}
    steps = set()
    while site.restarted == ["a"]:
        steps.add(site.tick(10).step)

    assert steps == {RolloutStep.WAIT, RolloutStep.RESTART}


def a_site_with_a_pod_that_does_not_fit(digest: str) -> Site:
    """The agent of `a` is a pod that the scheduler cannot place."""
    site = a_site("ab")
    del site.agents["a"]
    site.unplaced_pods["a"] = UnplacedAgent("a", "Unschedulable: Insufficient cpu", "cilium-a", "uid-a", digest)
    return site


def test_an_outdated_pod_that_does_not_fit_is_replaced_at_once() -> None:
    site = a_site_with_a_pod_that_does_not_fit(OTHER_DIGEST)
    plan = site.plan()

    assert (plan.step, plan.pods) == (RolloutStep.RESTART, (PodRef("cilium-a", "uid-a"),))
    assert plan.record is not None
    assert not plan.record.nodes, "no agent was restarted, so nothing can be evidence"


def test_a_pod_that_does_not_fit_and_is_up_to_date_stays() -> None:
    assert a_site_with_a_pod_that_does_not_fit(DIGEST).plan().pods != (PodRef("cilium-a", "uid-a"),)


def test_after_a_lost_record_a_new_pod_that_does_not_fit_uses_the_budget() -> None:
    """The rollout may have restarted its node: no other one is restarted until it is back."""
    site = a_site_with_a_pod_that_does_not_fit(DIGEST)
    site.lose_record()
    site.unready_for = {"a": 3600.0}
    site.run(100)

    assert site.restarted == []


def test_on_the_way_back_a_new_pod_that_does_not_fit_delays_nobody() -> None:
    site = a_site_with_a_pod_that_does_not_fit(DIGEST)
    site.lose_record()
    site.unready_for = {"a": 3600.0}
    site.judged, site.rolling_back = False, True
    site.run(100)

    assert site.restarted == ["b"]


def test_no_pod_is_replaced_before_the_daemonset_has_the_new_template() -> None:
    site = a_site_with_a_pod_that_does_not_fit(OTHER_DIGEST)
    site.daemonset_updated = False

    assert site.plan().pods == ()
