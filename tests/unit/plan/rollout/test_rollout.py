from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DIGEST, EARLIER, NOW, OTHER_DIGEST, a_cilium_node, a_node, an_agent, an_observation
from cilium_hybrid.api.status import RolloutStatus
from cilium_hybrid.api.v1alpha1 import DEFAULT_GROUP, Rollout
from cilium_hybrid.plan.observation import AgentPod, AgentSet, CiliumOperator, HybridNode, Observation
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, PATIENCE, RolloutPlan, RolloutStep, plan_rollout

CURRENT = CiliumOperator(2, 2, observed=True, current=True)
SETTINGS = Rollout.model_validate({"soak": "30s", "progressDeadline": "10m"})


def settings(**edit: Any) -> Rollout:
    return Rollout.model_validate({"soak": "30s", "progressDeadline": "10m"} | edit)


def old(name: str, **edit: Any) -> AgentPod:
    return replace(an_agent(name, config_digest=OTHER_DIGEST), **edit)


def new(name: str, **edit: Any) -> AgentPod:
    facts: dict[str, Any] = {"ready_since": EARLIER, "started": True} | edit
    return replace(an_agent(name), **facts)


def node(name: str, zone: str = "", **edit: Any) -> HybridNode:
    return replace(a_node(name, **edit), labels={DEFAULT_GROUP: zone} if zone else {})


def cluster(
    *agents: AgentPod, nodes: Iterable[HybridNode] | None = None, operator: CiliumOperator | None = CURRENT
) -> Observation:
    there = [node(agent.node) for agent in agents] if nodes is None else nodes
    run = AgentSet(DIGEST, observed=True)
    return an_observation(agents=agents, nodes=there, cilium_operator=operator, agent_set=run)


def seen(
    observation: Observation,
    previous: RolloutStatus | None = None,
    *,
    rules: Rollout = SETTINGS,
    own: str | None = None,
    now: datetime = NOW,
) -> RolloutPlan:
    return plan_rollout(observation, DIGEST, rules, previous, own, now)


def before(updated: int = 0, total: int = 3, outdated: int = 3, at: datetime = NOW) -> RolloutStatus:
    return RolloutStatus(updated=updated, total=total, outdated=outdated, last_progress_at=at)


def moved(plan: RolloutPlan) -> list[str]:
    assert plan.step is RolloutStep.RESTART
    return [pod.removeprefix("cilium-") for pod in plan.pods]


def test_where_nothing_is_stale_nothing_is_under_way() -> None:
    assert seen(cluster(new("a"), new("b"))) == NO_ROLLOUT
    assert seen(cluster(new("a"), new("b", ready=False))) == NO_ROLLOUT
    assert seen(cluster(new("a")), before()) == NO_ROLLOUT


@pytest.mark.parametrize("operator", [None, replace(CURRENT, current=False)], ids=["is not there", "is not current"])
def test_cilium_s_operator_comes_first(operator: CiliumOperator | None) -> None:
    plan = seen(cluster(old("a"), old("b"), operator=operator))

    assert plan.step is RolloutStep.WAIT
    assert "Cilium's operator comes first" in plan.message


def test_the_way_back_does_not_wait_for_it() -> None:
    deployed = replace(CURRENT, current=False)
    plan = plan_rollout(
        cluster(old("a"), new("b"), operator=deployed), DIGEST, SETTINGS, before(1), None, NOW, back=True
    )

    assert moved(plan) == ["a"]


@pytest.mark.parametrize(
    "agents",
    [None, AgentSet(OTHER_DIGEST, observed=True), AgentSet(DIGEST, observed=False)],
    ids=["is not there", "is not rewritten", "was not looked at by its controller"],
)
def test_no_agent_is_ended_before_the_next_would_be_a_new_one(agents: AgentSet | None) -> None:
    plan = seen(replace(cluster(old("a"), old("b")), agent_set=agents))

    assert plan.step is RolloutStep.WAIT
    assert "DaemonSet is being rewritten" in plan.message


def test_one_canary_is_moved_first() -> None:
    plan = seen(cluster(old("a"), old("b"), old("c")))

    assert moved(plan) == ["a"]
    assert plan.message == "0 of 3 connected nodes run what is released; canaries first; moving a"
    assert plan.status == before()


LATE = NOW - timedelta(minutes=10)
SOAKING = {"ready_since": NOW - timedelta(seconds=10)}


@pytest.mark.parametrize(
    ("agents", "rules", "expected"),
    [
        pytest.param([new("a", ready=False), old("b")], {}, [], id="the canary is not ready"),
        pytest.param([new("a", **SOAKING), old("b")], {}, [], id="it soaks"),
        pytest.param([new("a"), old("b"), old("c")], {}, ["b"], id="then one at a time"),
        pytest.param([new("a"), new("b", ready=False), old("c")], {}, [], id="one waits for another"),
        pytest.param([new("a"), old("b"), old("c")], {"maxUnavailable": 2}, ["b", "c"], id="or two"),
        pytest.param([new("a"), new("b", ready=False), old("c")], {"maxUnavailable": 2}, ["c"], id="two side by side"),
        pytest.param([old("a"), old("b"), old("c")], {"canary": 2}, ["a"], id="two canaries, one at a time"),
        pytest.param(
            [old("a"), old("b"), old("c")], {"canary": 2, "maxUnavailable": 5}, ["a", "b"], id="two canaries at once"
        ),
        pytest.param([old("a"), old("b")], {"canary": 9, "maxUnavailable": 9}, ["a", "b"], id="all are canaries"),
        pytest.param([new("a"), old("b", ready=False), old("c")], {}, ["b"], id="a broken one is mended first"),
        pytest.param([old("a", ready=False), old("b")], {}, ["b"], id="a broken one proves nothing as a canary"),
        pytest.param([new("a"), old("b")], {"soak": "0s"}, ["b"], id="no soak"),
    ],
)
def test_the_order(agents: list[AgentPod], rules: dict[str, Any], expected: list[str]) -> None:
    plan = seen(cluster(*agents), before(total=len(agents), outdated=9), rules=settings(**rules))

    assert (moved(plan) if plan.step is RolloutStep.RESTART else []) == expected


def test_a_soak_ends_when_it_ends() -> None:
    assert seen(cluster(new("a", **SOAKING), old("b"))).again == NOW + timedelta(seconds=20)


def test_a_soak_that_is_longer_than_the_deadline_is_no_lack_of_progress() -> None:
    rules = settings(soak="1h", progressDeadline="1m")
    late = before(updated=1, total=2, outdated=1, at=LATE)

    assert seen(cluster(new("a", **SOAKING), old("b")), late, rules=rules).step is RolloutStep.WAIT


def test_an_agent_that_is_ready_no_longer_has_its_time_too() -> None:
    late = before(updated=1, total=2, outdated=1, at=LATE)
    crashing = cluster(new("a", ready=False, failure_message="Crash"), old("b"))
    first = seen(crashing, late)

    assert first.step is RolloutStep.WAIT
    assert seen(crashing, first.status, now=NOW + PATIENCE).step is RolloutStep.FAILED


def test_groups_go_one_after_another_each_with_its_canary() -> None:
    nodes = [node("a1", "a"), node("a2", "a"), node("b1", "b"), node("b2", "b")]

    def after(*fresh: str, **edit: Any) -> RolloutPlan:
        agents = [new(n.name, **edit) if n.name in fresh else old(n.name) for n in nodes]
        return seen(cluster(*agents, nodes=nodes))

    assert moved(after()) == ["a1"]
    assert moved(after("a1")) == ["a2"]
    assert moved(after("a1", "a2")) == ["b1"]
    assert after("a1", "a2", "b1", **SOAKING).step is RolloutStep.WAIT
    assert moved(after("a1", "a2", "b1")) == ["b2"]


def test_the_node_of_this_operator_is_the_last() -> None:
    agents = [old("a"), new("b"), old("c")]

    assert moved(seen(cluster(*agents), own="a")) == ["c"]
    assert moved(seen(cluster(old("a"), new("b"), new("c")), own="a")) == ["a"]
    assert moved(seen(cluster(old("a")), own="a")) == ["a"]


def test_the_node_of_this_operator_is_waited_for_too() -> None:
    plan = seen(cluster(new("a", ready=False), new("b")), before(updated=1, total=2, outdated=0), own="a")

    assert (plan.step, plan.message) == (RolloutStep.WAIT, "1 of 2 connected nodes run what is released; waiting for a")


def test_nodes_that_do_not_report_neither_block_nor_are_moved() -> None:
    nodes = [node("a", ready="Unknown"), node("b"), node("c", ready="Unknown")]
    plan = seen(cluster(old("a"), new("b"), new("c", ready=False), nodes=nodes))
    back = seen(cluster(old("a"), new("b"), nodes=[node("a"), node("b")]))

    assert plan == NO_ROLLOUT
    assert moved(back) == ["a"]


def test_a_node_that_was_broken_before_is_no_evidence_and_blocks_nothing() -> None:
    crash_message = {"ready": False, "failure_message": "Crash"}
    first = seen(cluster(old("a", **crash_message), old("b"), old("c")))
    after_b = seen(cluster(old("a", **crash_message), new("b"), old("c")), first.status)
    late = seen(cluster(new("a", **crash_message), new("b"), old("c")), after_b.status, now=NOW + timedelta(hours=1))
    all_moved = seen(cluster(new("a", **crash_message), new("b"), new("c")), late.status)
    mended = seen(cluster(new("a"), new("b"), old("c")), after_b.status)

    assert moved(first) == ["b"]
    assert moved(after_b) == ["a"]
    assert moved(late) == ["c"]
    assert late.status is not None
    assert late.status.unhealthy_before == ("a",)
    assert all_moved == NO_ROLLOUT
    assert mended.status is not None
    assert mended.status.unhealthy_before == ()


def test_a_group_of_broken_nodes_alone_has_no_canary() -> None:
    crash_message = {"ready": False, "failure_message": "Crash"}

    assert moved(seen(cluster(old("a", **crash_message), old("b", **crash_message)))) == ["a"]


def test_a_node_without_an_agent_is_waited_for() -> None:
    nodes = [node("a"), node("b")]
    plan = seen(cluster(old("b"), nodes=nodes))

    assert plan.step is RolloutStep.WAIT
    assert plan.status is not None
    assert plan.status.current == ("a",)


@pytest.mark.parametrize(
    ("agent", "at", "expected"),
    [
        pytest.param({"ready": False}, NOW, RolloutStep.WAIT, id="it starts"),
        pytest.param({"ready": False}, LATE, RolloutStep.FAILED, id="it started and is not ready at the deadline"),
        pytest.param({"ready": False, "started": False}, LATE, RolloutStep.STALLED, id="it did not start: no evidence"),
        pytest.param(
            {"ready": False, "failure_message": "Crash"}, NOW, RolloutStep.WAIT, id="it crashes, and may recover"
        ),
        pytest.param(
            {"ready": False, "failure_message": "Crash"}, NOW - PATIENCE, RolloutStep.FAILED, id="it goes on crashing"
        ),
        pytest.param(
            {"ready": False, "started": False, "failure_message": "ImagePullBackOff"},
            NOW - PATIENCE,
            RolloutStep.FAILED,
            id="no image",
        ),
    ],
)
def test_slow_is_not_failed(agent: dict[str, Any], at: datetime, expected: RolloutStep) -> None:
    plan = seen(cluster(new("a", **agent), old("b")), before(updated=0, total=2, outdated=1, at=at))

    assert plan.step is expected


def test_the_deadline_counts_from_the_last_progress() -> None:
    agents = [new("a"), new("b", ready=False), old("c")]
    late = before(updated=1, total=3, outdated=1, at=LATE)

    assert seen(cluster(*agents), late).step is RolloutStep.FAILED
    assert seen(cluster(*agents), replace_status(late, updated=0)).step is RolloutStep.WAIT
    assert seen(cluster(*agents), replace_status(late, outdated=2)).step is RolloutStep.WAIT
    assert seen(cluster(*agents), replace_status(late, last_progress_at=NOW)).step is RolloutStep.WAIT


def replace_status(status: RolloutStatus, **edit: Any) -> RolloutStatus:
    return status.model_copy(update=edit)


def test_a_failure_names_the_nodes_and_why() -> None:
    crashing = {"ready": False, "failure_message": "CrashLoopBackOff: no kernel"}
    agents = [new("a", **crashing), new("b", ready=False), old("c")]
    plan = seen(cluster(*agents), before(outdated=1, at=LATE))

    assert plan.message == (
        "the new agent fails on a (CrashLoopBackOff: no kernel), b (its new agent started and is not Ready)"
    )


NAMES = [f"n{number}" for number in range(6)]
READINESS = st.sampled_from(["True", "False", "Unknown"])
ZONES = st.sampled_from(["", "x", "y"])
NODES = st.builds(node, st.sampled_from(NAMES), ZONES, ready=READINESS)
AGENTS = st.builds(
    lambda name, fresh, **edit: (new if fresh else old)(name, **edit),
    st.sampled_from(NAMES),
    st.booleans(),
    ready=st.booleans(),
    started=st.booleans(),
    failure_message=st.sampled_from(["", "CrashLoopBackOff"]),
    ready_since=st.sampled_from([None, EARLIER, NOW]),
)
LIMITS = st.integers(1, 3)
RULES = st.builds(lambda canary, limit: settings(canary=canary, maxUnavailable=limit), LIMITS, LIMITS)
WELL = st.lists(st.builds(node, st.sampled_from(NAMES), ZONES), min_size=1, max_size=6, unique_by=lambda one: one.name)


@given(
    st.lists(NODES, max_size=6, unique_by=lambda one: one.name),
    st.lists(AGENTS, max_size=6, unique_by=lambda one: one.node),
    RULES,
    st.sampled_from([None, *NAMES]),
)
def test_never_more_are_away_than_may_be_and_only_old_agents_are_ended(
    nodes: list[HybridNode], agents: list[AgentPod], rules: Rollout, own: str | None
) -> None:
    observation = cluster(*agents, nodes=nodes)
    plan = seen(observation, rules=rules, own=own)
    connected = [one.name for one in nodes if one.ready != "Unknown"]
    stale = {agent.node for agent in agents if agent.config_digest != DIGEST}
    healthy = {agent.node for agent in agents if agent.ready} - stale
    away = set(connected) - stale - healthy
    ended = [agent for agent in agents if agent.name in plan.pods]

    assert (plan.step is RolloutStep.RESTART) == bool(plan.pods)
    assert all(agent.config_digest != DIGEST and agent.node in connected for agent in ended)
    assert not plan.pods or len(away) + len(ended) <= rules.max_unavailable


@given(WELL, RULES)
def test_where_all_goes_well_every_node_is_moved_once(nodes: list[HybridNode], rules: Rollout) -> None:
    agents, ended, status, now = {one.name: old(one.name) for one in nodes}, list[str](), None, NOW
    for _ in range(100):
        plan = seen(cluster(*agents.values(), nodes=nodes), status, rules=rules, own="n0", now=now)
        if plan.step is RolloutStep.DONE:
            break
        names = moved(plan) if plan.step is RolloutStep.RESTART else []
        ended += names
        now, status = plan.again or now, plan.status
        agents |= {name: new(name, ready_since=now) for name in names}

    assert sorted(ended) == sorted(one.name for one in nodes)
    assert ended[-1] == "n0" or "n0" not in ended


@pytest.mark.parametrize(
    "agent", [{"failure_message": "CrashLoopBackOff"}, {"crash_message": "CrashLoopBackOff: no kernel"}, {}]
)
def test_an_agent_that_waits_for_a_block_says_nothing_of_the_release(agent: dict[str, Any]) -> None:
    crashing = cluster(new("a", ready=False, **agent), old("b"))
    starved = replace(crashing, cilium_nodes={"a": a_cilium_node("a", pod_cidrs=())})
    late = before(updated=0, total=2, outdated=1, at=LATE)

    assert seen(crashing, late).step is RolloutStep.FAILED
    assert seen(starved, late).step is RolloutStep.STALLED


def test_an_agent_that_the_scheduler_cannot_place_says_nothing_of_the_release() -> None:
    missing = cluster(old("b"), nodes=[node("a"), node("b")])
    unplaced = replace(missing, unplaced={"a": "Unschedulable: Too many pods"})
    late = before(updated=0, total=2, outdated=1, at=LATE)

    assert seen(unplaced, late).step is RolloutStep.STALLED
    assert seen(unplaced, late) == seen(missing, late)
    assert seen(unplaced) == seen(missing)
