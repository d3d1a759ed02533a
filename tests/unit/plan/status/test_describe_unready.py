import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import NOW
from cilium_hybrid.api.status import UnreadyNode, UnreadyReason
from cilium_hybrid.plan.status.nodes import describe_unready


def unready(*nodes: tuple[str, UnreadyReason, str]) -> list[UnreadyNode]:
    return [UnreadyNode(name=name, reason=reason, message=message, since=NOW) for name, reason, message in nodes]


@pytest.mark.parametrize(
    ("nodes", "line"),
    [
        pytest.param([("a", UnreadyReason.AGENT_NOT_READY, "x")], "a (AgentNotReady: x)", id="one node"),
        pytest.param(
            [(name, UnreadyReason.AGENT_NOT_READY, "x") for name in "abc"],
            "a, b, c (AgentNotReady: x)",
            id="three nodes with the same cause",
        ),
        pytest.param(
            [(name, UnreadyReason.AGENT_NOT_READY, "x") for name in "abcde"],
            "a, b and 3 more (AgentNotReady: x)",
            id="five nodes with the same cause",
        ),
        pytest.param(
            [
                ("a", UnreadyReason.AGENT_NOT_READY, "x"),
                ("b", UnreadyReason.AGENT_NOT_READY, "y"),
                ("c", UnreadyReason.AGENT_NOT_READY, "y"),
            ],
            "b, c (AgentNotReady: y), a (AgentNotReady: x)",
            id="the cause with the most nodes first",
        ),
        pytest.param(
            [
                ("a", UnreadyReason.NODE_DISCONNECTED, "x"),
                ("b", UnreadyReason.NODE_DISCONNECTED, "x"),
                ("c", UnreadyReason.AGENT_TAINT_PRESENT, "x"),
            ],
            "c (AgentTaintPresent: x), a, b (NodeDisconnected: x)",
            id="the most severe reason before it",
        ),
        pytest.param(
            [
                ("a", UnreadyReason.AGENT_NOT_READY, "1"),
                ("b", UnreadyReason.AGENT_NOT_READY, "2"),
                ("c", UnreadyReason.AGENT_NOT_READY, "3"),
                ("d", UnreadyReason.AGENT_NOT_READY, "4"),
            ],
            "a (AgentNotReady: 1), b (AgentNotReady: 2), c (AgentNotReady: 3) and 1 more",
            id="three of many causes",
        ),
        pytest.param([], "", id="none"),
    ],
)
def test_unready_nodes_are_described_in_one_line(nodes: list[tuple[str, UnreadyReason, str]], line: str) -> None:
    assert describe_unready(unready(*nodes)) == line


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
def test_the_line_names_each_node_once_in_a_stable_order(nodes: list[tuple[str, UnreadyReason, str]]) -> None:
    line = describe_unready(sorted(unready(*nodes), key=lambda node: node.name))

    assert line == "a, b (AgentNotReady: x), c (AgentNotReady: y), d (NodeNotReady: y)"
