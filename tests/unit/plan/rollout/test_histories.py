"""Histories in which a rollout once did harm. Each number is that of a row in the list of histories."""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from builders import DIGEST, OTHER_DIGEST
from cilium_hybrid.api.upgrade import RolloutStrategy
from cilium_hybrid.plan.record import RolloutRecord
from cilium_hybrid.plan.rollout.persistence import without_choice
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutStep
from cilium_hybrid.plan.rollout.rollout import nothing_to_verify
from unit.plan.rollout.site import CRASHING, READY, STARTED, STARTING, Site, a_site, settings

FIRST_FIX = f"sha256:{'01' * 32}"
SECOND_FIX = f"sha256:{'02' * 32}"


def test_1_a_blink_of_all_other_nodes_does_not_let_a_crashing_release_reach_them() -> None:
    site = a_site("abcdefgh", new=lambda _: CRASHING)
    site.tick()
    for name in "bcdefgh":
        site.agent(name, ready=False)
    blink = site.tick(10)
    for name in "bcdefgh":
        site.agent(name, ready=True)
    site.judged = False  # Not even without a judge.
    after = site.run(600)

    assert blink.step is RolloutStep.FAILED
    assert after.step is not RolloutStep.RESTART
    assert site.restarted == ["a"]


def test_1_a_blink_while_the_canary_starts_restarts_nothing() -> None:
    site = a_site("abcdefgh", new=lambda _: STARTED)
    site.tick()
    for blink in (False, True, False, True):
        for name in "bcdefgh":
            site.agent(name, ready=blink)
        site.tick(10)

    assert site.restarted == ["a"]


def test_2_an_updated_node_that_reboots_is_no_evidence() -> None:
    site = a_site("abc")
    site.tick()
    site.tick(10)
    for _ in range(3):
        site.reboot("a")
        plan = site.tick(10)

    assert plan.step is RolloutStep.WAIT
    assert site.restarted == ["a"]


def test_2_a_node_that_joins_during_a_rollout_and_crashes_is_no_evidence() -> None:
    site = a_site("abc")
    site.tick()
    site.join("x", **CRASHING)
    plan = site.run(300)

    assert plan.step is not RolloutStep.FAILED
    assert plan.findings == (
        "the agent fails on x (CrashLoopBackOff: fatal: cannot load program), which this rollout did not restart",
    )


def test_3_a_node_that_returns_to_a_verified_revision_and_crashes_is_no_evidence() -> None:
    site = a_site("abc", new=lambda _: CRASHING, judged=False)
    for name in "ab":
        site.agent(name, config_digest=DIGEST)

    assert site.tick().step is RolloutStep.RESTART
    assert site.restarted == ["c"]
    assert {site.tick(10).step for _ in range(100)} == {RolloutStep.WAIT, RolloutStep.STALLED}


def test_7_a_violation_during_a_rollout_stops_new_work_and_neither_judging_nor_what_is_known() -> None:
    site = a_site("abc", new=lambda _: STARTED)
    site.tick()
    site.may_start = False
    site.tick(10)
    site.agent("a", **CRASHING)
    failed = site.tick(10)

    assert failed.step is RolloutStep.FAILED
    assert failed.record is not None
    assert set(failed.record.nodes) == {"a"}


def test_7_nothing_is_restarted_during_a_violation_and_the_rollout_continues_after_it() -> None:
    site = a_site("abc")
    site.tick()
    site.may_start = False
    site.run(300)
    during = list(site.restarted)
    site.may_start = True
    site.until(RolloutStep.DONE)

    assert during == ["a"]
    assert site.restarted == ["a", "b", "c"]


def test_7_suspended_time_does_not_count() -> None:
    site = a_site("abc", new=lambda _: STARTED)
    site.tick()
    plans = [site.tick(0.0) for _ in range(100)]

    assert {plan.step for plan in plans} == {RolloutStep.WAIT}


def test_10_no_timestamp_of_a_node_counts() -> None:
    site = a_site("ab")
    site.tick()
    for shift in (-1, 1):
        skewed = {name: replace(node, clock_skew=shift * 1440) for name, node in site.nodes.items()}
        site.nodes.update(skewed)
        site.tick(10)
    waiting = site.tick(9)
    site.tick(1)
    site.tick(10)

    assert waiting.step is RolloutStep.WAIT
    assert site.restarted == ["a", "b"]


def test_13_one_broken_node_does_not_keep_a_rolling_update_from_being_verified() -> None:
    site = a_site("abc", rules=settings(strategy=RolloutStrategy.ROLLING_UPDATE))
    site.agent("c", config_digest=DIGEST, ready=False, failure_message="CreateContainerError: disk full")
    site.tick()
    site.replace_pod("a")
    site.tick(10)
    site.replace_pod("b")
    waiting = site.run(300)
    verified = next(plan for _ in range(100) if (plan := site.tick(10)).verified)

    assert (waiting.step, waiting.verified) == (RolloutStep.WAIT, False)
    assert verified.step is RolloutStep.DONE
    assert verified.findings[0].startswith("the rollout does not wait for c (CreateContainerError: disk full)")
    assert site.seconds == pytest.approx(600, abs=20)
    assert site.restarted == []


def test_13_a_rolling_update_that_does_not_continue_is_reported_at_the_deadline() -> None:
    site = a_site("abc", rules=settings(strategy=RolloutStrategy.ROLLING_UPDATE), new=lambda _: STARTING)
    site.tick()
    site.replace_pod("a")
    waiting = site.run(590)
    plan = site.run(30)

    assert waiting.step is RolloutStep.WAIT
    assert plan.step is RolloutStep.STALLED
    assert plan.message == "the agent on a is not Ready since its restart (agent is starting)"


def test_14_three_bad_edits_in_a_row_take_one_node() -> None:
    site = a_site("abcd", new=lambda _: CRASHING)
    site.until(RolloutStep.FAILED)
    for digest in (FIRST_FIX, SECOND_FIX):
        site.digest = digest
        site.run(1300)

    assert set(site.restarted) == {"a"}
    assert site.last is not None
    assert site.last.step is RolloutStep.STALLED
    assert "waiting for a (CrashLoopBackOff" in site.last.message


def test_14_a_fix_is_tried_on_the_casualty_first() -> None:
    site = a_site("abc", new=lambda _: CRASHING)
    site.until(RolloutStep.FAILED)
    site.digest, site.new = FIRST_FIX, lambda _: READY
    site.until(RolloutStep.DONE)

    assert site.restarted == ["a", "a", "b", "c"]


@pytest.mark.parametrize("zone", ["the same", "its own"])
def test_18_the_work_grows_with_the_nodes_and_not_with_their_square(zone: str) -> None:
    def operations(nodes: int) -> int:
        names = [f"n{number:05}" for number in range(nodes)]
        site = Site({name: name if zone == "its own" else zone for name in names})
        site.tick()
        # Half of the nodes are updated, and some are ill, disconnected or open.
        for number, name in enumerate(names):
            site.agent(name, config_digest=DIGEST if number % 2 else OTHER_DIGEST, ready=number % 5 > 0)
            site.node(name, ready="Unknown" if number % 7 == 0 else "True")
        site.tick(10)
        return count_operations(lambda: site.plan(10.0))

    assert operations(800) < 10 * operations(100)


def count_operations(function: Callable[[], object]) -> int:
    """Return how many instructions of Python a function takes, which does not depend on the machine."""
    counted = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal counted
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return counted


def test_22_a_canary_that_cuts_its_node_off_stops_the_rollout() -> None:
    site = a_site("abcd")
    site.tick()
    site.disconnect("a")
    waiting = site.run(590)
    stalled = site.run(60)
    site.reconnect("a")
    blink = site.tick(10)
    site.agent("a", ready=True)
    site.until(RolloutStep.DONE)

    assert waiting.step is RolloutStep.WAIT
    assert stalled.step is RolloutStep.STALLED
    assert stalled.message.startswith("a lost contact after its restart")
    assert blink.step is not RolloutStep.FAILED
    assert site.restarted == ["a", "b", "c", "d"]


def test_22_a_node_that_is_cut_off_shows_it_only_after_its_soak_time() -> None:
    """The node controller needs 40 s to notice; without a longer memory every node would be cut off in turn."""
    site = a_site("abcdef")
    site.tick()
    site.until(RolloutStep.RESTART)
    site.disconnect("a")
    waiting = site.run(300)

    assert site.restarted == ["a", "b"]
    assert waiting.step is RolloutStep.WAIT
    site.reconnect("a")
    site.agent("a", ready=True)
    site.until(RolloutStep.DONE)
    assert site.restarted == list("abcdef")


def test_22_a_canary_that_is_lost_after_its_soak_time_closes_its_group_again() -> None:
    site = a_site("abcdef", rules=settings(maxUnavailable=2))
    site.tick()
    site.until(RolloutStep.RESTART)
    site.disconnect("a")
    site.run(300)

    assert site.restarted == ["a", "b", "c"]


def test_22_no_other_group_begins_while_the_canary_of_an_earlier_one_is_lost() -> None:
    site = Site({"a": "one", "b": "two", "c": "two"}, rules=settings(maxUnavailable=2))
    site.tick()
    site.run(20)
    chosen = site.plan(10).record
    assert chosen is not None
    site.record = replace(chosen, nodes={})
    site.disconnect("a")
    site.run(300)

    assert chosen.group == "two"
    assert site.restarted == ["a"]


def test_22_a_casualty_that_is_lost_after_its_soak_time_is_one_again() -> None:
    site = a_site("ab", rules=settings(maxUnavailable=2))
    site.record = RolloutRecord(DIGEST, max_unavailable=2, casualties=("a",), outdated=2)
    site.tick()
    site.run(20)
    chosen = site.plan(10).record
    assert chosen is not None
    site.record = replace(chosen, nodes={})
    site.disconnect("a")
    plan = site.run(300)

    assert chosen.casualties == ()
    assert site.restarted == ["a"]
    assert plan.record is not None
    assert plan.record.casualties == ("a",)


def test_22_casualties_that_are_ready_again_are_tried_like_canaries() -> None:
    """The next release may be as bad as the one that left them not Ready."""
    site = a_site("abc", rules=settings(maxUnavailable=2, canary=1), new=lambda _: STARTED)
    site.record = RolloutRecord(DIGEST, max_unavailable=2, casualties=("a", "b"), outdated=3)
    site.run(100)

    assert site.restarted == ["a"]


def test_22_casualties_whose_agents_have_exited_are_tried_one_at_a_time() -> None:
    site = a_site("abcd", rules=settings(maxUnavailable=3, canary=1), new=lambda _: STARTED)
    for name in "abc":
        site.agent(name, exits=1)
    site.record = RolloutRecord(DIGEST, max_unavailable=3, casualties=("a", "b", "c"), outdated=4)
    site.run(100)

    assert site.restarted == ["a"]


def test_22_a_casualty_whose_zone_is_away_does_not_delay_those_of_other_zones() -> None:
    site = a_site("", rules=settings(maxUnavailable=3, canary=1), new=lambda name: STARTED if name == "a" else READY)
    for name, zone in zip("abcdef", "xyxyxy", strict=True):
        site.join(name, zone, digest=OTHER_DIGEST)
    site.record = RolloutRecord(DIGEST, max_unavailable=3, casualties=("a", "b"), outdated=6)
    site.tick(10)
    site.disconnect("a", "c", "e")
    site.run(3600)

    assert site.restarted == ["a", "b"]


def test_22_a_node_that_loses_contact_long_after_its_restart_stops_nothing() -> None:
    site = a_site("abc", rules=settings(soak="30s"))
    site.tick()
    site.run(40)
    site.run(30)
    site.disconnect("a")
    site.run(300)

    assert site.restarted == ["a", "b", "c"]


def test_22_a_canary_that_panics_its_kernel_stops_the_rollout_and_is_not_replaced() -> None:
    site = a_site("abcd")
    site.tick()
    for _ in range(80):
        site.reboot("a")
        plan = site.tick(10)

    assert plan.step is RolloutStep.STALLED
    assert "rebooted" in plan.message
    assert site.restarted == ["a"]


def test_22_a_node_that_is_broken_for_ever_delays_but_does_not_stop_a_rollout() -> None:
    site = a_site("abcd")
    site.agent("d", ready=False, failure_message="CreateContainerError: no space left on device")
    site.new = lambda name: STARTED if name == "d" else READY
    site.run(590)
    before = list(site.restarted)
    site.run(300)

    assert before == []
    assert site.restarted == ["a", "b", "c", "d"]


def test_22_a_lost_record_in_mid_rollout_restarts_one_node_at_a_time() -> None:
    site = a_site("abcdef", rules=settings(canary=3, maxUnavailable=3))
    site.tick()
    site.lose_record()
    for name in "abc":
        site.agent(name, **STARTED)
    waiting = site.tick(10)
    for name in "abc":
        site.agent(name, **READY)
    site.run(40)

    assert waiting.step is RolloutStep.WAIT
    assert site.restarted == ["d"]


def test_22_two_canaries_that_cut_their_nodes_off_one_after_the_other_are_not_followed_by_a_third() -> None:
    site = a_site("abcd", rules=settings(canary=2, maxUnavailable=2, soak="10s"))
    site.tick()
    while (plan := site.plan(5)).step is not RolloutStep.RESTART:
        site.tick(5)
    # Their Leases are not renewed, so the next node is not restarted.
    site.record = without_choice(plan.record, plan.pods, None)
    site.disconnect("a")
    site.tick(5)
    site.disconnect("b")
    site.run(50)
    site.reconnect("a", "b")
    for name in "ab":
        site.agent(name, **READY)
    site.tick(5)

    assert site.restarted == ["a", "b"]


def test_22_a_canary_that_is_back_with_its_zone_soaks_before_another_zone_begins() -> None:
    """While the zone was away the other one might have begun, had the budget allowed it."""
    site = Site({"a": "x", "b": "x", "c": "y", "d": "y"}, rules=settings(progressDeadline="1m"))
    site.tick()
    site.tick(10)
    site.disconnect("a", "b")
    site.run(120)
    away = list(site.restarted)
    site.reconnect("a", "b")
    site.agent("a", **READY)
    site.agent("b", **READY)
    site.run(20)
    soaking = list(site.restarted)
    site.run(300)

    assert (away, soaking) == (["a"], ["a"])
    assert site.restarted == ["a", "b", "c", "d"]


def test_22_a_finding_about_an_agent_that_exits_again_and_again_stays_while_it_starts_once_more() -> None:
    site = a_site("abc")
    site.join("x", **CRASHING)
    waiting = site.tick()
    # While the operator is suspended, no time counts.
    site.agent("x", failure_message="", crash_message="CrashLoopBackOff: fatal: cannot load program", exits=3)
    starting = site.tick()

    assert "which this rollout did not restart" in waiting.findings[0]
    assert starting.findings == waiting.findings


def test_22_a_node_that_blinks_has_no_finding_for_exits_of_its_agent_long_ago() -> None:
    site = a_site("abc")
    site.join("x", **READY, exits=3)
    site.tick()
    site.disconnect("x")
    site.tick(60)
    site.reconnect("x")

    assert site.tick(1).findings == ()


def test_22_a_crash_between_record_and_deletion_restarts_the_node_that_was_recorded() -> None:
    site = a_site("bcd")
    plan = site.plan()
    site.record = plan.record
    site.join("a", digest=OTHER_DIGEST)
    again = site.tick(10)

    assert again.step is RolloutStep.RESTART
    assert again.first
    assert site.restarted == ["b"]


def test_22_a_hybrid_site_without_nodes_has_nothing_to_verify() -> None:
    site = a_site("")

    assert site.tick() == NO_ROLLOUT
    assert nothing_to_verify(site.observe())


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_22_a_leader_with_a_wrong_wall_clock_does_not_change_the_soak_time(skew: int) -> None:
    site = a_site("ab")
    site.tick()
    site.seconds += skew
    site.tick(10)
    site.seconds -= skew
    site.tick(10)

    assert site.tick(10).step is RolloutStep.WAIT
    assert site.tick(10).step is RolloutStep.RESTART
