"""Restarts that are not seen at once, and how the rollout is reported meanwhile."""

from builders import OTHER_DIGEST
from cilium_hybrid.plan.rollout.plan import RolloutPlan, RolloutStep
from unit.plan.rollout.site import CRASHING, STARTED, Site, a_site, settings


def restarted(plan: RolloutPlan) -> list[str]:
    """The nodes that a plan restarts, in the order of its record."""
    return [] if plan.record is None else [name for name in plan.record.nodes if plan.step is RolloutStep.RESTART]


def test_a_restart_that_has_not_happened_is_done_again() -> None:
    site = a_site("abc")
    plan = site.plan()
    site.record = plan.record

    assert restarted(site.plan(10)) == ["a"]


def test_a_restart_that_is_done_again_is_judged_by_what_was_known_before_the_first_time() -> None:
    site = a_site("abc")
    site.record = site.plan().record
    boot = site.nodes["a"].boot_id
    site.node("a", boot_id="another")
    plan = site.tick(10)

    assert plan.record is not None
    assert plan.record.nodes["a"].boot_id == boot


def test_no_other_node_is_restarted_while_a_restart_may_be_unseen() -> None:
    site = a_site("bcd")
    site.record = site.plan().record
    site.agent("b", ready=False)
    plans = [site.tick(10) for _ in range(5)]

    assert {plan.step for plan in plans} == {RolloutStep.WAIT}


def test_a_restart_that_may_be_unseen_is_not_done_again_once_the_canary_of_its_group_is_lost() -> None:
    site = a_site("abc", rules=settings(maxUnavailable=3))
    site.tick()
    site.run(20)
    chosen = site.plan(10)
    site.record = chosen.record
    site.disconnect("a")
    site.run(300)

    assert restarted(chosen) == ["b", "c"]
    assert site.restarted == ["a"]


def test_a_node_that_was_only_chosen_after_the_canaries_is_not_restarted_before_those_of_the_next_revision() -> None:
    site = a_site("abcd", rules=settings(maxUnavailable=3))
    site.tick()
    site.run(20)
    chosen = site.plan(10)
    site.record = chosen.record
    site.digest, site.new = "sha256:next", lambda _: CRASHING
    site.run(300)

    assert restarted(chosen) == ["b", "c", "d"]
    assert site.restarted == ["a", "a"]


def test_a_node_that_was_only_chosen_is_left_alone_if_the_way_back_makes_it_up_to_date() -> None:
    site = a_site("abc")
    site.record = site.plan().record
    site.digest, site.judged, site.rolling_back = OTHER_DIGEST, False, True
    site.run(120)

    assert site.restarted == []


def test_a_restart_of_the_operators_own_node_that_has_not_happened_is_done_again() -> None:
    site = a_site("a", own="a")
    site.record = site.plan().record

    assert [restarted(site.plan(10)) for _ in range(2)] == [["a"], ["a"]]


def test_a_restart_that_does_not_happen_for_a_minute_is_forgotten() -> None:
    site = a_site("bcd")
    site.record = site.plan().record
    site.may_start = False
    plans = [site.tick(10) for _ in range(7)]

    assert ["b" in plan.record.nodes for plan in plans if plan.record] == [True] * 5 + [False] * 2


def test_a_pod_that_terminates_is_awaited_and_not_restarted_again() -> None:
    site = a_site("abc")
    plan = site.plan()
    site.record = plan.record
    site.terminating["a"] = frozenset({site.agents.pop("a").uid})
    waiting = site.tick(10)
    site.run(150)

    assert waiting.step is RolloutStep.WAIT
    assert site.restarted == []
    assert site.last is not None
    assert site.last.message == "0 of 3 connected nodes updated; waiting for a (agent pod is still terminating)"
    assert site.last.findings == (
        "the agent pod on a does not terminate; restart the kubelet or the node, or delete the Node",
    )


def test_the_same_configuration_in_another_revision_continues_the_rollout() -> None:
    site = a_site("abc")
    site.tick()
    site.tick(10)
    assert site.record is not None
    nodes = dict(site.record.nodes)
    again = site.plan()

    assert again.record is not None
    assert again.record.nodes == nodes


def test_the_status_counts_nodes_and_keeps_the_time_of_the_last_progress() -> None:
    site = a_site("abcd", new=lambda _: STARTED)
    site.disconnect("d")
    first = site.tick().status
    second = site.tick(10).status
    later = site.run(60).status

    assert first is not None
    assert second is not None
    assert later is not None
    assert (later.updated, later.total, later.outdated, later.current) == (0, 3, 2, ("a",))
    assert second.last_progress_at > first.last_progress_at
    assert later.last_progress_at == second.last_progress_at


def test_the_status_has_no_list_of_more_than_ten_nodes() -> None:
    site = Site({f"n{number:02}": "" for number in range(40)}, rules=settings(maxUnavailable=40, canary=20))
    site.new = lambda _: STARTED
    for number in range(20, 40):
        site.agent(f"n{number}", ready=False)
    site.tick()
    status = site.tick(10).status

    assert status is not None
    assert len(status.current) == 10
    assert len(status.unhealthy_before) == 10


def test_a_plan_is_looked_at_again_while_time_counts_and_when_the_soak_time_ends() -> None:
    site = a_site("ab")
    site.tick()
    site.tick(10)

    assert site.tick(10).recheck_in == 15.0
    assert site.tick(12).recheck_in == 8.0
    assert site.run(200).recheck_in is None


def test_a_restart_is_not_done_again_without_a_budget() -> None:
    site = a_site("abcd")
    site.record = site.plan().record
    site.agent("d", ready=False)

    assert site.tick(10).step is RolloutStep.WAIT
