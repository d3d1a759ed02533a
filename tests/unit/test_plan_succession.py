from typing import Any

import pytest

from builders import a_node, a_spec, an_observation
from cilium_hybrid.plan.observation import HybridNode
from cilium_hybrid.plan.succession import CORDONED, has_one_place, with_the_old_going_first
from cilium_hybrid.plan.values import helm_values

A, B, C = a_node("a"), a_node("b"), a_node("c")
AWAY, CLOSED, JOINING = a_node("b", ready="Unknown"), a_node("b", taints=(CORDONED,)), a_node("b", ready="False")


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([], False, id="no node has joined, and nothing is known"),
        pytest.param([A], True, id="a single node"),
        pytest.param([A, B], False, id="two nodes"),
        pytest.param([A, JOINING], False, id="one that waits for Cilium takes its operator"),
        pytest.param([A, AWAY], True, id="one that does not report takes none"),
        pytest.param([A, CLOSED], True, id="one that is cordoned takes none"),
        pytest.param([A, AWAY, C], False, id="two of three"),
        pytest.param([AWAY], True, id="none at all at present"),
    ],
)
def test_where_no_second_node_could_take_cilium_s_operator(nodes: list[HybridNode], expected: bool) -> None:
    assert has_one_place(an_observation(nodes=nodes)) is expected


def test_then_the_old_one_goes_first_and_nothing_else_changes() -> None:
    values = helm_values(a_spec(values={"operator": {"replicas": 3}}))
    placed = with_the_old_going_first(values)

    assert placed["operator"].pop("updateStrategy") == {"rollingUpdate": {"maxUnavailable": "100%"}}
    assert placed == values
    assert "updateStrategy" not in values["operator"]


@pytest.mark.parametrize("strategy", [{"type": "Recreate", "rollingUpdate": None}, {}], ids=["named", "empty"])
def test_a_strategy_of_the_user_s_stays(strategy: dict[str, Any]) -> None:
    values = helm_values(a_spec(values={"operator": {"updateStrategy": strategy}}))

    assert with_the_old_going_first(values) == values
