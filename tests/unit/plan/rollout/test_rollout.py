from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DIGEST, EARLIER, NOW, OTHER_DIGEST, a_node, an_agent, an_observation
from cilium_hybrid.api.status import RolloutStatus
from cilium_hybrid.api.upgrade import DEFAULT_GROUP, Rollout
from cilium_hybrid.plan.observation import AgentPod, AgentSet, CiliumOperator, HybridNode, Observation
from cilium_hybrid.plan.rollout.rollout import (
    NO_ROLLOUT,
    RolloutPlan,
    RolloutStep,
    max_unavailable_nodes,
    plan_rollout,
)

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
    members = [node(agent.node) for agent in agents] if nodes is None else nodes
    run = AgentSet(DIGEST, observed=True)
    return an_observation(agents=agents, nodes=members, cilium_operator=operator, agent_set=run)


def plan_of(
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


def restarted(plan: RolloutPlan) -> list[str]:
    assert plan.step is RolloutStep.RESTART
    return [pod.removeprefix("cilium-") for pod in plan.pods]


def test_no_rollout_without_an_outdated_agent() -> None:
    assert plan_of(cluster(new("a"), new("b"))) == NO_ROLLOUT
    assert plan_of(cluster(new("a"), new("b", ready=False))) == NO_ROLLOUT
    assert plan_of(cluster(new("a")), before()) == NO_ROLLOUT


@pytest.mark.parametrize("operator", [None, replace(CURRENT, current=False)], ids=["missing", "outdated"])
def test_the_cilium_operator_is_updated_first(operator: CiliumOperator | None) -> None:
    plan = plan_of(cluster(old("a"), old("b"), operator=operator))

    assert plan.step is RolloutStep.WAIT
    assert "waiting for the Cilium operator to be updated" in plan.message


def test_a_rollback_does_not_wait_for_the_cilium_operator() -> None:
    deployed = replace(CURRENT, current=False)
    plan = plan_rollout(
        cluster(old("a"), new("b"), operator=deployed), DIGEST, SETTINGS, before(1), None, NOW, rolling_back=True
    )

    assert restarted(plan) == ["a"]


@pytest.mark.parametrize(
    "agents",
    [None, AgentSet(OTHER_DIGEST, observed=True), AgentSet(DIGEST, observed=False)],
    ids=["missing", "not updated", "not observed by its controller"],
)
def test_no_agent_is_restarted_before_the_daemonset_is_updated(agents: AgentSet | None) -> None:
    plan = plan_of(replace(cluster(old("a"), old("b")), agent_set=agents))

    assert plan.step is RolloutStep.WAIT
    assert "waiting for DaemonSet cilium to be updated" in plan.message


def test_one_canary_is_restarted_first() -> None:
    plan = plan_of(cluster(old("a"), old("b"), old("c")))

    assert restarted(plan) == ["a"]
    assert plan.message == "0 of 3 connected nodes updated; restarting canary a"
    assert plan.status == before()


LATE = NOW - timedelta(minutes=10)
SOAKING = {"ready_since": NOW - timedelta(seconds=10)}


@pytest.mark.parametrize(
    ("agents", "rules", "expected"),
    [
        pytest.param([new("a", ready=False), old("b")], {}, [], id="the canary is not ready"),
        pytest.param([new("a", **SOAKING), old("b")], {}, [], id="the canary is soaking"),
        pytest.param([new("a"), old("b"), old("c")], {}, ["b"], id="then one node at a time"),
        pytest.param([new("a"), new("b", ready=False), old("c")], {}, [], id="one node waits for another"),
        pytest.param([new("a"), old("b"), old("c")], {"maxUnavailable": 2}, ["b", "c"], id="two nodes at a time"),
        pytest.param(
            [new("a"), new("b", ready=False), old("c")],
            {"maxUnavailable": 2},
            ["c"],
            id="one restarts while another is restarting",
        ),
        pytest.param([old("a"), old("b"), old("c")], {"canary": 2}, ["a"], id="two canaries, one at a time"),
        pytest.param(
            [old("a"), old("b"), old("c")], {"canary": 2, "maxUnavailable": 5}, ["a", "b"], id="two canaries at once"
        ),
        pytest.param([old("a"), old("b")], {"canary": 9, "maxUnavailable": 9}, ["a", "b"], id="all nodes are canaries"),
        pytest.param([new("a"), old("b", ready=False), old("c")], {}, ["b"], id="an unhealthy agent first"),
        pytest.param([old("a", ready=False), old("b")], {}, ["b"], id="an unhealthy agent is no canary"),
        pytest.param([new("a"), old("b")], {"soak": "0s"}, ["b"], id="no soak time"),
    ],
)
def test_the_order(agents: list[AgentPod], rules: dict[str, Any], expected: list[str]) -> None:
    plan = plan_of(cluster(*agents), before(total=len(agents), outdated=9), rules=settings(**rules))

    assert (restarted(plan) if plan.step is RolloutStep.RESTART else []) == expected


def test_the_plan_is_rechecked_when_the_soak_time_ends() -> None:
    assert plan_of(cluster(new("a", **SOAKING), old("b"))).recheck_at == NOW + timedelta(seconds=20)


def test_a_soak_time_longer_than_the_deadline_is_not_a_lack_of_progress() -> None:
    rules = settings(soak="1h", progressDeadline="1m")
    late = before(updated=1, total=2, outdated=1, at=LATE)

    assert plan_of(cluster(new("a", **SOAKING), old("b")), late, rules=rules).step is RolloutStep.WAIT


def test_groups_are_updated_one_after_another_each_with_its_canary() -> None:
    nodes = [node("a1", "a"), node("a2", "a"), node("b1", "b"), node("b2", "b")]

    def after(*fresh: str, **edit: Any) -> RolloutPlan:
        agents = [new(n.name, **edit) if n.name in fresh else old(n.name) for n in nodes]
        return plan_of(cluster(*agents, nodes=nodes))

    assert restarted(after()) == ["a1"]
    assert restarted(after("a1")) == ["a2"]
    assert restarted(after("a1", "a2")) == ["b1"]
    assert after("a1", "a2", "b1", **SOAKING).step is RolloutStep.WAIT
    assert restarted(after("a1", "a2", "b1")) == ["b2"]


def test_the_node_of_this_operator_comes_last() -> None:
    agents = [old("a"), new("b"), old("c")]

    assert restarted(plan_of(cluster(*agents), own="a")) == ["c"]
    assert restarted(plan_of(cluster(old("a"), new("b"), new("c")), own="a")) == ["a"]
    assert restarted(plan_of(cluster(old("a")), own="a")) == ["a"]


def test_the_rollout_waits_for_the_node_of_this_operator() -> None:
    plan = plan_of(cluster(new("a", ready=False), new("b")), before(updated=1, total=2, outdated=0), own="a")

    assert (plan.step, plan.message) == (RolloutStep.WAIT, "1 of 2 connected nodes updated; waiting for a")


def test_disconnected_nodes_neither_block_nor_are_restarted() -> None:
    nodes = [node("a", ready="Unknown"), node("b"), node("c", ready="Unknown")]
    plan = plan_of(cluster(old("a"), new("b"), new("c", ready=False), nodes=nodes))
    back = plan_of(cluster(old("a"), new("b"), nodes=[node("a"), node("b")]))

    assert plan == NO_ROLLOUT
    assert restarted(back) == ["a"]


@pytest.mark.parametrize(
    ("value", "connected", "expected"),
    [
        pytest.param(1, 5, 1, id="a number"),
        pytest.param(9, 5, 9, id="a number larger than the site"),
        pytest.param("25%", 4, 1, id="a percentage without a remainder"),
        pytest.param("25%", 5, 2, id="a percentage is rounded up"),
        pytest.param("1%", 5, 1, id="a small percentage is at least one node"),
        pytest.param("100%", 5, 5, id="all nodes"),
        pytest.param("50%", 0, 1, id="no connected node"),
    ],
)
def test_max_unavailable_is_a_number_or_a_percentage_of_the_connected_nodes(
    value: int | str, connected: int, expected: int
) -> None:
    assert max_unavailable_nodes(settings(maxUnavailable=value), connected) == expected


def test_a_percentage_counts_connected_nodes_only() -> None:
    agents = [new("a"), *map(old, "bcde")]
    nodes = [*(node(name) for name in "abcde"), *(node(name, ready="Unknown") for name in "fghi")]

    assert restarted(plan_of(cluster(*agents, nodes=nodes), rules=settings(maxUnavailable="40%"))) == ["b", "c"]


def test_the_message_names_soaking_canaries_and_restarting_nodes() -> None:
    canaries = plan_of(cluster(new("a", **SOAKING), new("b", **SOAKING), old("c")), rules=settings(canary=2))
    rest = plan_of(cluster(new("a"), old("b"), old("c")), rules=settings(maxUnavailable=2))

    assert canaries.message == "2 of 3 connected nodes updated; soaking canaries a, b"
    assert rest.message == "1 of 3 connected nodes updated; restarting b, c"


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
RULES = st.builds(
    lambda canary, limit: settings(canary=canary, maxUnavailable=limit), LIMITS, LIMITS | st.sampled_from(["1%", "40%"])
)
ALL_CONNECTED = st.lists(
    st.builds(node, st.sampled_from(NAMES), ZONES), min_size=1, max_size=6, unique_by=lambda member: member.name
)


@given(
    st.lists(NODES, max_size=6, unique_by=lambda member: member.name),
    st.lists(AGENTS, max_size=6, unique_by=lambda agent: agent.node),
    RULES,
    st.sampled_from([None, *NAMES]),
)
def test_at_most_max_unavailable_agents_are_down_and_only_outdated_ones_are_restarted(
    nodes: list[HybridNode], agents: list[AgentPod], rules: Rollout, own: str | None
) -> None:
    observation = cluster(*agents, nodes=nodes)
    plan = plan_of(observation, rules=rules, own=own)
    connected = [member.name for member in nodes if member.ready != "Unknown"]
    outdated = {agent.node for agent in agents if agent.config_digest != DIGEST}
    healthy = {agent.node for agent in agents if agent.ready} - outdated
    down = set(connected) - outdated - healthy
    deleted = [agent for agent in agents if agent.name in plan.pods]

    assert (plan.step is RolloutStep.RESTART) == bool(plan.pods)
    assert all(agent.config_digest != DIGEST and agent.node in connected for agent in deleted)
    assert not plan.pods or len(down) + len(deleted) <= max_unavailable_nodes(rules, len(connected))


@given(ALL_CONNECTED, RULES)
def test_in_a_successful_rollout_every_node_is_restarted_once(nodes: list[HybridNode], rules: Rollout) -> None:
    agents, order, status, now = {member.name: old(member.name) for member in nodes}, list[str](), None, NOW
    for _ in range(100):
        plan = plan_of(cluster(*agents.values(), nodes=nodes), status, rules=rules, own="n0", now=now)
        if plan.step is RolloutStep.DONE:
            break
        names = restarted(plan) if plan.step is RolloutStep.RESTART else []
        order += names
        now, status = plan.recheck_at or now, plan.status
        agents |= {name: new(name, ready_since=now) for name in names}

    assert sorted(order) == sorted(member.name for member in nodes)
    assert order[-1] == "n0" or "n0" not in order
