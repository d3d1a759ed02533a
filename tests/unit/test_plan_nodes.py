from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DIGEST, EARLIER, NODE, NOW, OTHER_DIGEST, a_cilium_node, a_node, an_agent, an_observation
from cilium_hybrid.api.status import Leg, UnreadyNode
from cilium_hybrid.plan.nodes import JOINING_GRACE, NodesVerdict, judge_nodes, named
from cilium_hybrid.plan.observation import AgentPod, CiliumNode, HybridNode, NodeReady

WELL = a_node(), an_agent(), a_cilium_node()


def judge(
    *facts: HybridNode | AgentPod | CiliumNode,
    since: Mapping[tuple[str, Leg], datetime] | None = None,
    now: datetime = NOW,
) -> NodesVerdict:
    observation = an_observation(
        nodes=[fact for fact in facts if isinstance(fact, HybridNode)],
        agents=[fact for fact in facts if isinstance(fact, AgentPod)],
        cilium_nodes=[fact for fact in facts if isinstance(fact, CiliumNode)],
    )
    return judge_nodes(observation, DIGEST, since or {}, now)


ALL_WRONG: dict[str, Any] = {
    "node": {"ready": "Unknown", "agent_taint": True},
    "agent": {"ready": False, "trouble": "CrashLoopBackOff", "config_digest": OTHER_DIGEST},
    "cilium_node": {"pod_cidrs": (), "error": "allocator full"},
}


@pytest.mark.parametrize(
    ("node", "agent", "cilium_node", "leg", "message"),
    [
        pytest.param(
            a_node(**ALL_WRONG["node"]),
            an_agent(**ALL_WRONG["agent"]),
            a_cilium_node(**ALL_WRONG["cilium_node"]),
            Leg.DISCONNECTED,
            "the node does not report to the API server",
            id="a node that does not report, whatever else",
        ),
        pytest.param(a_node(ready="False"), None, None, Leg.AGENT, "no Cilium agent pod on the node", id="no agent"),
        pytest.param(
            a_node(),
            None,
            a_cilium_node(),
            Leg.AGENT,
            "no Cilium agent pod on the node, which is Ready by CNI files that were left on it",
            id="a node that is Ready without an agent",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False, crash="CrashLoopBackOff: kernel too old"),
            a_cilium_node(pod_cidrs=()),
            Leg.AGENT,
            "CrashLoopBackOff: kernel too old; no block of pod addresses: not allocated yet",
            id="an agent that crashed and tries once more",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False, trouble="ErrImagePull: not found"),
            a_cilium_node(),
            Leg.AGENT,
            "ErrImagePull: not found",
            id="an agent whose image is missing",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(**ALL_WRONG["agent"]),
            a_cilium_node(**ALL_WRONG["cilium_node"]),
            Leg.AGENT,
            "CrashLoopBackOff; no block of pod addresses: allocator full",
            id="an agent that crashes, before its missing block",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False),
            a_cilium_node(**ALL_WRONG["cilium_node"]),
            Leg.POD_CIDR,
            "no block of pod addresses: allocator full",
            id="no block, before the agent that waits for it",
        ),
        pytest.param(
            a_node(),
            an_agent(),
            a_cilium_node(error="overlaps"),
            Leg.POD_CIDR,
            "its block of pod addresses: overlaps",
            id="a block with an error",
        ),
        pytest.param(
            a_node(),
            an_agent(ready=False),
            a_cilium_node(pod_cidrs=()),
            Leg.POD_CIDR,
            "no block of pod addresses: not allocated yet",
            id="a block that is not cut yet",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False, config_digest=OTHER_DIGEST),
            None,
            Leg.AGENT,
            "the agent is starting",
            id="an agent that starts, before its CiliumNode is there",
        ),
        pytest.param(
            a_node(ready="False", message="container runtime is down", agent_taint=True),
            an_agent(config_digest=OTHER_DIGEST),
            a_cilium_node(),
            Leg.KUBELET,
            "container runtime is down",
            id="a kubelet with trouble of its own",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(),
            a_cilium_node(),
            Leg.KUBELET,
            "kubelet reports NotReady",
            id="a kubelet that does not say why",
        ),
        pytest.param(
            a_node(agent_taint=True),
            an_agent(config_digest=OTHER_DIGEST),
            a_cilium_node(),
            Leg.VERSION,
            "the agent runs an older configuration",
            id="an agent of an older configuration",
        ),
        pytest.param(
            a_node(agent_taint=True),
            an_agent(),
            a_cilium_node(),
            Leg.TAINT,
            "taint node.cilium.io/agent-not-ready is still there",
            id="a taint that stayed",
        ),
    ],
)
def test_the_root_cause_is_the_first_leg_that_fails(
    node: HybridNode, agent: AgentPod | None, cilium_node: CiliumNode | None, leg: Leg, message: str
) -> None:
    (failing,) = judge(*(fact for fact in (node, agent, cilium_node) if fact is not None)).failing

    assert (failing.name, failing.leg, failing.message, failing.since) == (NODE, leg, message, NOW)


@pytest.mark.parametrize("ready", ["True", "False"])
def test_an_agent_that_the_scheduler_cannot_place_is_told_in_its_words(ready: NodeReady) -> None:
    waits = replace(an_observation(nodes=[a_node(ready=ready)]), unplaced={NODE: "Unschedulable: Too many pods"})
    (failing,) = judge_nodes(waits, DIGEST, {}, NOW).failing
    # The pod of before is still there.
    replaced = replace(waits, agents={NODE: an_agent()}, nodes={NODE: a_node()})

    message = "the agent's pod has no place on the node: Unschedulable: Too many pods"
    assert (failing.leg, failing.message) == (Leg.AGENT, message)
    assert judge_nodes(replaced, DIGEST, {}, NOW).failing == ()


def test_a_node_that_is_well_fails_no_leg() -> None:
    assert judge(*WELL) == NodesVerdict(total=1, agents_ready=1, up_to_date=1, failing=())


def test_a_node_without_its_cilium_node_may_be_well() -> None:
    assert judge(a_node(), an_agent()).failing == ()


def test_agents_of_nodes_that_are_gone_are_not_counted() -> None:
    assert judge(*WELL, an_agent("gone"), a_cilium_node("gone")).report() == judge(*WELL).report()


def test_nodes_are_counted() -> None:
    verdict = judge(
        *(a_node("well"), an_agent("well"), a_cilium_node("well")),
        *(a_node("old"), an_agent("old", config_digest=OTHER_DIGEST), a_cilium_node("old")),
        *(a_node("starting"), an_agent("starting", ready=False), a_cilium_node("starting")),
        a_node("away", ready="Unknown"),
    )
    report = verdict.report()

    assert (report.total, report.ready, report.summary) == (4, 1, "1/4")
    assert (report.agents_ready, report.up_to_date, report.disconnected) == (2, 2, 1)
    assert [node.name for node in verdict.connected_failing] == ["starting", "old"]


def test_root_causes_come_first_and_then_names() -> None:
    legs = {
        "7": (a_node("7", ready="Unknown"),),
        "6": (a_node("6", ready="False"), an_agent("6")),
        "5": (a_node("5", agent_taint=True), an_agent("5")),
        "4": (a_node("4"), an_agent("4", config_digest=None)),
        "3": (a_node("3"), an_agent("3"), a_cilium_node("3", pod_cidrs=())),
        "2": (a_node("2"),),
        "1": (a_node("1"),),
    }
    verdict = judge(*(fact for facts in legs.values() for fact in facts))

    assert [node.name for node in verdict.failing] == ["1", "2", "3", "4", "5", "6", "7"]


def test_at_most_ten_names_are_reported_and_all_are_counted() -> None:
    report = judge(*(a_node(f"{number:02}") for number in range(12))).report()

    assert report.legs == {Leg.AGENT: 12}

    assert [node.name for node in report.unready] == [f"{number:02}" for number in range(10)]
    assert report.summary == "0/12"


def test_a_failure_keeps_the_time_it_was_first_seen() -> None:
    first = judge(a_node(), now=EARLIER)
    later = judge(a_node(), since=first.since)

    assert later.failing[0].since == EARLIER


def test_another_leg_begins_anew() -> None:
    first = judge(a_node(), now=EARLIER)
    later = judge(a_node(), an_agent(ready=False), a_cilium_node(pod_cidrs=()), since=first.since)

    assert later.failing[0].since == NOW


FAILS_SINCE_EARLIER = judge(
    a_node("agent"),
    *(a_node("kubelet", ready="False"), an_agent("kubelet"), a_cilium_node("kubelet")),
    a_node("away", ready="Unknown"),
    now=EARLIER,
)


@pytest.mark.parametrize(
    ("after", "blamed"),
    [
        pytest.param(timedelta(), [], id="a node that just joined"),
        pytest.param(JOINING_GRACE - timedelta(seconds=1), [], id="within its two minutes"),
        pytest.param(JOINING_GRACE, ["agent"], id="after its two minutes, and never for the line or the kubelet"),
    ],
)
def test_cilium_is_blamed_for(after: timedelta, blamed: list[str]) -> None:
    assert [node.name for node in FAILS_SINCE_EARLIER.fault_of_cilium(EARLIER + after)] == blamed


def test_the_next_look_is_when_a_grace_ends() -> None:
    ends = EARLIER + JOINING_GRACE

    assert FAILS_SINCE_EARLIER.grace_ends(EARLIER) == ends
    assert FAILS_SINCE_EARLIER.grace_ends(ends - timedelta(seconds=1)) == ends
    assert FAILS_SINCE_EARLIER.grace_ends(ends) is None
    assert judge(*WELL).grace_ends(NOW) is None


def failing(*nodes: tuple[str, Leg, str]) -> list[UnreadyNode]:
    return [UnreadyNode(name=name, leg=leg, message=message, since=NOW) for name, leg, message in nodes]


@pytest.mark.parametrize(
    ("nodes", "line"),
    [
        pytest.param([("a", Leg.AGENT, "x")], "a (Agent: x)", id="one"),
        pytest.param([(name, Leg.AGENT, "x") for name in "abc"], "a, b, c (Agent: x)", id="three alike"),
        pytest.param([(name, Leg.AGENT, "x") for name in "abcde"], "a, b and 3 more (Agent: x)", id="five alike"),
        pytest.param(
            [("a", Leg.AGENT, "x"), ("b", Leg.AGENT, "y"), ("c", Leg.AGENT, "y")],
            "b, c (Agent: y), a (Agent: x)",
            id="what most suffer from comes first",
        ),
        pytest.param(
            [("a", Leg.DISCONNECTED, "x"), ("b", Leg.DISCONNECTED, "x"), ("c", Leg.TAINT, "x")],
            "c (Taint: x), a, b (Disconnected: x)",
            id="and the worst leg before it",
        ),
        pytest.param(
            [("a", Leg.AGENT, "1"), ("b", Leg.AGENT, "2"), ("c", Leg.AGENT, "3"), ("d", Leg.AGENT, "4")],
            "a (Agent: 1), b (Agent: 2), c (Agent: 3) and 1 more",
            id="of many causes three are told",
        ),
        pytest.param([], "", id="none"),
    ],
)
def test_failing_nodes_are_told_in_one_line(nodes: list[tuple[str, Leg, str]], line: str) -> None:
    assert named(failing(*nodes)) == line


@given(st.permutations([("a", Leg.AGENT, "x"), ("b", Leg.AGENT, "x"), ("c", Leg.AGENT, "y"), ("d", Leg.KUBELET, "y")]))
def test_the_line_names_each_node_once_in_whatever_order(nodes: list[tuple[str, Leg, str]]) -> None:
    told = named(sorted(failing(*nodes), key=lambda node: node.name))

    assert told == "a, b (Agent: x), c (Agent: y), d (Kubelet: y)"
