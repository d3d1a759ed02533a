"""The order in which agents are restarted: canaries, groups, the budget, the node of this operator."""

from dataclasses import replace
from typing import Any

import pytest

from builders import OTHER_DIGEST
from cilium_hybrid.plan.observation import CiliumOperator
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutStep
from unit.plan.rollout.site import CURRENT, READY, STARTED, Site, a_site, settings


def test_no_rollout_without_a_digest_or_a_node() -> None:
    assert a_site("").tick() == NO_ROLLOUT
    assert a_site("ab", judged=False, digest=OTHER_DIGEST).tick().step is RolloutStep.DONE


@pytest.mark.parametrize(
    ("operator", "waiting"),
    [
        pytest.param(None, "waiting for the Cilium operator to be created", id="missing"),
        pytest.param(
            replace(CURRENT, current=False),
            "waiting for the Cilium operator: 2 of 2 replicas available, not all of them up to date",
            id="outdated",
        ),
        pytest.param(
            replace(CURRENT, available=0, current=False),
            "waiting for the Cilium operator: 0 of 2 replicas available",
            id="starting",
        ),
    ],
)
def test_the_cilium_operator_is_updated_first(operator: CiliumOperator | None, waiting: str) -> None:
    plan = a_site("ab", operator=operator).tick()

    assert plan.step is RolloutStep.WAIT
    assert plan.message == f"0 of 2 connected nodes updated; {waiting}"


def test_a_rollback_does_not_wait_for_the_cilium_operator() -> None:
    site = a_site("ab", operator=replace(CURRENT, current=False), rolling_back=True, judged=False)

    assert site.tick().step is RolloutStep.RESTART


def test_no_agent_is_restarted_before_the_daemonset_is_updated() -> None:
    plan = a_site("ab", daemonset_updated=False).tick()

    assert plan.step is RolloutStep.WAIT
    assert plan.message == "0 of 2 connected nodes updated; waiting for DaemonSet cilium to be updated"


def test_one_canary_is_restarted_first_and_written_to_the_record() -> None:
    site = a_site("abc")
    pod = site.agents["a"]
    plan = site.tick()

    assert plan.message == "0 of 3 connected nodes updated; restarting canary a"
    assert [(ref.name, ref.uid) for ref in plan.pods] == [(pod.name, pod.uid)]
    assert plan.first
    assert plan.record is not None
    node = plan.record.nodes["a"]
    assert (node.pod_uid, node.node_uid, node.boot_id) == (pod.uid, site.nodes["a"].uid, site.nodes["a"].boot_id)
    assert (node.healthy, node.canary, node.elapsed) == (True, True, 0.0)


def test_only_the_first_restart_is_the_first() -> None:
    site = a_site("abc")
    firsts = [plan.first for _ in range(12) if (plan := site.tick(10)).step is RolloutStep.RESTART]

    assert firsts == [True, False, False]


def test_the_canary_soaks_before_the_next_node() -> None:
    site = a_site("abc")
    site.tick()
    plans = [site.tick(10) for _ in range(5)]

    assert [plan.step.value for plan in plans] == ["Wait", "Wait", "Wait", "Restart", "Restart"]
    assert plans[0].message == "1 of 3 connected nodes updated; soaking canary a"
    assert site.restarted == ["a", "b", "c"]


def test_the_soak_time_begins_when_the_agent_was_seen_ready() -> None:
    site = a_site("ab", new=lambda _: STARTED)
    site.tick()
    site.run(60)
    site.agent("a", ready=True)
    site.tick(30)

    assert site.run(20).step is RolloutStep.WAIT
    assert site.tick(10).step is RolloutStep.RESTART


def test_an_interruption_restarts_the_soak_time() -> None:
    site = a_site("ab")
    site.tick()
    site.run(20)
    site.agent("a", ready=False)
    site.tick(5)
    site.agent("a", ready=True)

    assert site.run(25).step is RolloutStep.WAIT
    assert site.run(10).step is RolloutStep.RESTART


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param({"canary": 2}, [["a"], ["b"], ["c"], ["d"]], id="two canaries, one at a time"),
        pytest.param({"canary": 2, "maxUnavailable": 5}, [["a", "b"], ["c", "d"]], id="two canaries at once"),
        pytest.param({"maxUnavailable": 2}, [["a"], ["b", "c"], ["d"]], id="two nodes at a time"),
        pytest.param({"maxUnavailable": "50%"}, [["a"], ["b", "c"], ["d"]], id="half of the nodes at a time"),
        pytest.param({"canary": 9, "maxUnavailable": 9}, [["a", "b", "c", "d"]], id="all nodes are canaries"),
        pytest.param({"soak": "0s"}, [["a"], ["b"], ["c"], ["d"]], id="no soak time"),
    ],
)
def test_the_order(rules: dict[str, Any], expected: list[list[str]]) -> None:
    site = a_site("abcd", rules=settings(**rules))
    steps = []
    for _ in range(40):
        before = len(site.restarted)
        site.tick(10)
        steps.append(site.restarted[before:])

    assert [names for names in steps if names] == expected


def test_groups_are_updated_one_after_another_each_with_its_canary() -> None:
    site = Site({"a1": "a", "b1": "b", "a2": "a", "b2": "b"})
    messages = [plan.message for _ in range(30) if (plan := site.tick(10)).step is RolloutStep.RESTART]

    assert site.restarted == ["a1", "a2", "b1", "b2"]
    assert ["canary" in message for message in messages] == [True, False, True, False]


def test_a_node_that_returns_to_a_finished_group_is_a_canary_again_only_if_none_has_settled() -> None:
    site = Site({"a1": "a", "a2": "a", "b1": "b"})
    site.disconnect("a2")
    site.run(40)
    opened = None if site.record is None else site.record.open_groups
    site.reconnect("a2")
    site.agent("a2", ready=True)
    plan = site.tick(10)

    assert opened == ("a",)
    assert site.restarted == ["a1", "b1", "a2"]
    assert "canary" not in plan.message


def test_a_group_whose_nodes_all_blink_is_not_opened_without_a_canary() -> None:
    site = a_site("abc")
    for name in "abc":
        site.agent(name, ready=False)
    site.run(60)
    for name in "abc":
        site.agent(name, ready=True)

    assert site.tick(10).message == "0 of 3 connected nodes updated; restarting canary a"


def test_the_node_of_this_operator_comes_last() -> None:
    site = Site({"a": "z", "b": "a", "c": "z"}, own="a")
    site.run(200)

    assert site.restarted == ["b", "c", "a"]


def test_the_node_of_this_operator_waits_for_the_canaries_to_soak() -> None:
    site = a_site("ab", own="a")
    site.run(20)
    before = list(site.restarted)
    site.run(30)

    assert (before, site.restarted) == (["b"], ["b", "a"])


def test_the_only_node_may_be_the_one_of_this_operator() -> None:
    site = a_site("a", own="a")

    assert site.tick().step is RolloutStep.RESTART


def test_a_disconnected_node_is_not_restarted_and_a_rollout_can_end_without_it() -> None:
    site = a_site("abc")
    site.disconnect("a")
    done = site.run(100)

    assert site.restarted == ["b", "c"]
    assert (done.step, site.run(10).step) == (RolloutStep.DONE, RolloutStep.DONE)


def test_an_agent_that_is_not_ready_for_a_moment_is_neither_restarted_nor_a_canary() -> None:
    site = a_site("abc")
    site.agent("a", ready=False)

    assert site.run(60).step is RolloutStep.WAIT
    assert site.restarted == []


def test_more_unavailable_nodes_than_the_budget_stop_healthy_restarts() -> None:
    site = a_site("abcde", rules=settings(maxUnavailable=3))
    site.agent("d", ready=False)
    site.agent("e", ready=False)
    site.run(40)
    site.agent("a", ready=False)
    before = list(site.restarted)
    plan = site.tick(10)

    assert before == ["a", "b"]
    assert plan.step is RolloutStep.WAIT


def test_an_ill_agent_is_repaired_after_the_canaries_without_a_budget() -> None:
    site = a_site("abc", rules=settings(maxUnavailable=2))
    site.agent("a", ready=False, failure_message="CrashLoopBackOff: bug of the earlier release")
    site.run(60)

    assert site.restarted == ["b", "c", "a"]


def test_an_ill_agent_waits_for_the_canaries() -> None:
    site = a_site("abcd", rules=settings(maxUnavailable=2, canary=3))
    site.agent("a", ready=False, failure_message="CrashLoopBackOff: bug of the earlier release")
    site.run(20)
    before = list(site.restarted)
    site.run(200)

    assert "a" not in before
    assert site.restarted[-1] == "a"


def test_ill_agents_are_restarted_one_by_one_each_awaited_for_two_minutes_at_most() -> None:
    site = a_site("abc", new=lambda _: STARTED, judged=False, rules=settings(progressDeadline="1h"))
    for name in "abc":
        site.agent(name, ready=False, failure_message="CrashLoopBackOff: bug of the earlier release")
    times: dict[str, float] = {}
    for _ in range(60):
        site.tick(10)
        times |= {name: site.seconds for name in site.restarted if name not in times}

    assert times == {"a": 10.0, "b": 140.0, "c": 270.0}


def test_the_budget_of_a_percentage_is_that_of_the_start_and_a_number_counts_at_once() -> None:
    site = a_site("abcdefgh", rules=settings(maxUnavailable="25%"))
    site.tick()
    for name in "efgh":
        site.disconnect(name)
    percentage = site.tick(10)
    site.rules = settings(maxUnavailable=1)
    number = site.tick(10)

    assert percentage.record is not None
    assert percentage.record.max_unavailable == 2
    assert number.record is not None
    assert number.record.max_unavailable == 1


def test_a_rollback_neither_has_canaries_nor_soaks() -> None:
    site = a_site("abc", judged=False, rolling_back=True, new=lambda _: READY)
    plans = [site.tick(10) for _ in range(4)]

    assert site.restarted == ["a", "b", "c"]
    assert [plan.step.value for plan in plans] == ["Restart", "Restart", "Restart", "Done"]
    assert plans[-1].record is None
    assert plans[-1].verified


def test_a_group_is_not_opened_while_nodes_that_could_be_canaries_blink() -> None:
    site = a_site("abc", rules=settings(canary=2))
    site.tick()
    site.agent("b", ready=False)
    site.agent("c", ready=False)
    site.run(50)
    site.agent("b", ready=True)
    site.agent("c", ready=True)

    assert site.tick(10).message == "1 of 3 connected nodes updated; restarting canary b"


def test_a_group_without_a_settled_canary_is_not_opened_when_its_nodes_are_away() -> None:
    site = a_site("abc")
    site.tick()
    site.disconnect("b", "c")
    site.delete("a")
    site.tick(10)
    site.reconnect("b", "c")
    site.agent("b", ready=True)
    site.agent("c", ready=True)

    assert site.tick(10).message == "0 of 2 connected nodes updated; restarting canary b"
