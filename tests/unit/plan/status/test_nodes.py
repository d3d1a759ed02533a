from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DIGEST, EARLIER, NODE, NOW, OTHER_DIGEST, a_cilium_node, a_node, an_agent, an_observation
from cilium_hybrid.api.status import UnreadyNode, UnreadyReason
from cilium_hybrid.plan.observation import AgentPod, CiliumNode, HybridNode, NodeReady
from cilium_hybrid.plan.status.nodes import JOINING_GRACE, NodeReadiness, evaluate_nodes, named

WELL = a_node(), an_agent(), a_cilium_node()


def validate(
    *facts: HybridNode | AgentPod | CiliumNode,
    since: Mapping[tuple[str, UnreadyReason], datetime] | None = None,
    now: datetime = NOW,
) -> NodeReadiness:
    observation = an_observation(
        nodes=[fact for fact in facts if isinstance(fact, HybridNode)],
        agents=[fact for fact in facts if isinstance(fact, AgentPod)],
        cilium_nodes=[fact for fact in facts if isinstance(fact, CiliumNode)],
    )
    return evaluate_nodes(observation, DIGEST, since or {}, now)


ALL_WRONG: dict[str, Any] = {
    "node": {"ready": "Unknown", "agent_taint": True},
    "agent": {"ready": False, "failure_message": "CrashLoopBackOff", "config_digest": OTHER_DIGEST},
    "cilium_node": {"pod_cidrs": (), "error": "allocator full"},
}


@pytest.mark.parametrize(
    ("node", "agent", "cilium_node", "reason", "message"),
    [
        pytest.param(
            a_node(**ALL_WRONG["node"]),
            an_agent(**ALL_WRONG["agent"]),
            a_cilium_node(**ALL_WRONG["cilium_node"]),
            UnreadyReason.NODE_DISCONNECTED,
            "the node does not report to the API server",
            id="a node that does not report, whatever else",
        ),
        pytest.param(
            a_node(ready="False"),
            None,
            None,
            UnreadyReason.AGENT_NOT_READY,
            "no Cilium agent pod on the node",
            id="no agent",
        ),
        pytest.param(
            a_node(),
            None,
            a_cilium_node(),
            UnreadyReason.AGENT_NOT_READY,
            "no Cilium agent pod on the node, which is Ready by CNI files that were left on it",
            id="a node that is Ready without an agent",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False, crash_message="CrashLoopBackOff: kernel too old"),
            a_cilium_node(pod_cidrs=()),
            UnreadyReason.AGENT_NOT_READY,
            "CrashLoopBackOff: kernel too old; no block of pod addresses: not allocated yet",
            id="an agent that crashed and tries once more",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False, failure_message="ErrImagePull: not found"),
            a_cilium_node(),
            UnreadyReason.AGENT_NOT_READY,
            "ErrImagePull: not found",
            id="an agent whose image is missing",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(**ALL_WRONG["agent"]),
            a_cilium_node(**ALL_WRONG["cilium_node"]),
            UnreadyReason.AGENT_NOT_READY,
            "CrashLoopBackOff; no block of pod addresses: allocator full",
            id="an agent that crashes, before its missing block",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False),
            a_cilium_node(**ALL_WRONG["cilium_node"]),
            UnreadyReason.NO_POD_CIDR,
            "no block of pod addresses: allocator full",
            id="no block, before the agent that waits for it",
        ),
        pytest.param(
            a_node(),
            an_agent(),
            a_cilium_node(error="overlaps"),
            UnreadyReason.NO_POD_CIDR,
            "its block of pod addresses: overlaps",
            id="a block with an error",
        ),
        pytest.param(
            a_node(),
            an_agent(ready=False),
            a_cilium_node(pod_cidrs=()),
            UnreadyReason.NO_POD_CIDR,
            "no block of pod addresses: not allocated yet",
            id="a block that is not cut yet",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False, config_digest=OTHER_DIGEST),
            None,
            UnreadyReason.AGENT_NOT_READY,
            "the agent is starting",
            id="an agent that starts, before its CiliumNode is there",
        ),
        pytest.param(
            a_node(ready="False", message="container runtime is down", agent_taint=True),
            an_agent(config_digest=OTHER_DIGEST),
            a_cilium_node(),
            UnreadyReason.NODE_NOT_READY,
            "container runtime is down",
            id="a kubelet with trouble of its own",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(),
            a_cilium_node(),
            UnreadyReason.NODE_NOT_READY,
            "kubelet reports NotReady",
            id="a kubelet that does not say why",
        ),
        pytest.param(
            a_node(agent_taint=True),
            an_agent(config_digest=OTHER_DIGEST),
            a_cilium_node(),
            UnreadyReason.VERSION,
            "the agent runs an older configuration",
            id="an agent of an older configuration",
        ),
        pytest.param(
            a_node(agent_taint=True),
            an_agent(),
            a_cilium_node(),
            UnreadyReason.AGENT_TAINT_PRESENT,
            "taint node.cilium.io/agent-not-ready is still there",
            id="a taint that stayed",
        ),
    ],
)
def test_the_root_cause_is_the_first_leg_that_fails(
    node: HybridNode, agent: AgentPod | None, cilium_node: CiliumNode | None, reason: UnreadyReason, message: str
) -> None:
    (failing,) = validate(*(fact for fact in (node, agent, cilium_node) if fact is not None)).failing

    assert (failing.name, failing.reason, failing.message, failing.since) == (NODE, reason, message, NOW)


@pytest.mark.parametrize("ready", ["True", "False"])
def test_an_agent_that_the_scheduler_cannot_place_is_told_in_its_words(ready: NodeReady) -> None:
    waits = replace(an_observation(nodes=[a_node(ready=ready)]), unplaced={NODE: "Unschedulable: Too many pods"})
    (failing,) = evaluate_nodes(waits, DIGEST, {}, NOW).failing
    # The pod of before is still there.
    replaced = replace(waits, agents={NODE: an_agent()}, nodes={NODE: a_node()})

    message = "the agent's pod has no place on the node: Unschedulable: Too many pods"
    assert (failing.reason, failing.message) == (UnreadyReason.AGENT_NOT_READY, message)
    assert evaluate_nodes(replaced, DIGEST, {}, NOW).failing == ()


def test_a_node_that_is_well_fails_no_leg() -> None:
    assert validate(*WELL) == NodeReadiness(total=1, agents_ready=1, up_to_date=1, failing=())


def test_a_node_without_its_cilium_node_may_be_well() -> None:
    assert validate(a_node(), an_agent()).failing == ()


def test_agents_of_nodes_that_are_gone_are_not_counted() -> None:
    assert validate(*WELL, an_agent("gone"), a_cilium_node("gone")).report() == validate(*WELL).report()


def test_nodes_are_counted() -> None:
    verdict = validate(
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
    unready_reasons = {
        "7": (a_node("7", ready="Unknown"),),
        "6": (a_node("6", ready="False"), an_agent("6")),
        "5": (a_node("5", agent_taint=True), an_agent("5")),
        "4": (a_node("4"), an_agent("4", config_digest=None)),
        "3": (a_node("3"), an_agent("3"), a_cilium_node("3", pod_cidrs=())),
        "2": (a_node("2"),),
        "1": (a_node("1"),),
    }
    verdict = validate(*(fact for facts in unready_reasons.values() for fact in facts))

    assert [node.name for node in verdict.failing] == ["1", "2", "3", "4", "5", "6", "7"]


def test_at_most_ten_names_are_reported_and_all_are_counted() -> None:
    report = validate(*(a_node(f"{number:02}") for number in range(12))).report()

    assert report.unready_reasons == {UnreadyReason.AGENT_NOT_READY: 12}

    assert [node.name for node in report.unready] == [f"{number:02}" for number in range(10)]
    assert report.summary == "0/12"


def test_a_failure_keeps_the_time_it_was_first_seen() -> None:
    first = validate(a_node(), now=EARLIER)
    later = validate(a_node(), since=first.since)

    assert later.failing[0].since == EARLIER


def test_another_leg_begins_anew() -> None:
    first = validate(a_node(), now=EARLIER)
    later = validate(a_node(), an_agent(ready=False), a_cilium_node(pod_cidrs=()), since=first.since)

    assert later.failing[0].since == NOW


FAILS_SINCE_EARLIER = validate(
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
    assert validate(*WELL).grace_ends(NOW) is None


def failing(*nodes: tuple[str, UnreadyReason, str]) -> list[UnreadyNode]:
    return [UnreadyNode(name=name, reason=reason, message=message, since=NOW) for name, reason, message in nodes]


@pytest.mark.parametrize(
    ("nodes", "line"),
    [
        pytest.param([("a", UnreadyReason.AGENT_NOT_READY, "x")], "a (AgentNotReady: x)", id="one"),
        pytest.param(
            [(name, UnreadyReason.AGENT_NOT_READY, "x") for name in "abc"],
            "a, b, c (AgentNotReady: x)",
            id="three alike",
        ),
        pytest.param(
            [(name, UnreadyReason.AGENT_NOT_READY, "x") for name in "abcde"],
            "a, b and 3 more (AgentNotReady: x)",
            id="five alike",
        ),
        pytest.param(
            [
                ("a", UnreadyReason.AGENT_NOT_READY, "x"),
                ("b", UnreadyReason.AGENT_NOT_READY, "y"),
                ("c", UnreadyReason.AGENT_NOT_READY, "y"),
            ],
            "b, c (AgentNotReady: y), a (AgentNotReady: x)",
            id="what most suffer from comes first",
        ),
        pytest.param(
            [
                ("a", UnreadyReason.NODE_DISCONNECTED, "x"),
                ("b", UnreadyReason.NODE_DISCONNECTED, "x"),
                ("c", UnreadyReason.AGENT_TAINT_PRESENT, "x"),
            ],
            "c (AgentTaintPresent: x), a, b (NodeDisconnected: x)",
            id="and the worst leg before it",
        ),
        pytest.param(
            [
                ("a", UnreadyReason.AGENT_NOT_READY, "1"),
                ("b", UnreadyReason.AGENT_NOT_READY, "2"),
                ("c", UnreadyReason.AGENT_NOT_READY, "3"),
                ("d", UnreadyReason.AGENT_NOT_READY, "4"),
            ],
            "a (AgentNotReady: 1), b (AgentNotReady: 2), c (AgentNotReady: 3) and 1 more",
            id="of many causes three are told",
        ),
        pytest.param([], "", id="none"),
    ],
)
def test_failing_nodes_are_told_in_one_line(nodes: list[tuple[str, UnreadyReason, str]], line: str) -> None:
    assert named(failing(*nodes)) == line


@given(
    st.permutations(
        [
            ("a", UnreadyReason.AGENT_NOT_READY, "x"),
            ("b", UnreadyReason.AGENT_NOT_READY, "x"),
            ("c", UnreadyReason.AGENT_NOT_READY, "y"),
            ("d", UnreadyReason.NODE_NOT_READY, "y"),
        ]
    )
)
def test_the_line_names_each_node_once_in_whatever_order(nodes: list[tuple[str, UnreadyReason, str]]) -> None:
    told = named(sorted(failing(*nodes), key=lambda node: node.name))

    assert told == "a, b (AgentNotReady: x), c (AgentNotReady: y), d (NodeNotReady: y)"
