from typing import Any

import pytest

from builders import NODE, a_node, a_spec, an_observation
from cilium_hybrid.plan.observation import CORDONED, CiliumPod, HybridNode
from cilium_hybrid.plan.rollout.operator_deployment import (
    CILIUM_OPERATOR,
    has_one_place,
    with_its_trouble,
    with_the_old_going_first,
    without_the_old_going_first,
)
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


def test_released_values_tell_what_the_spec_led_to() -> None:
    values = helm_values(a_spec(values={"operator": {"updateStrategy": {"type": "Recreate"}}}))

    assert without_the_old_going_first(with_the_old_going_first(helm_values(a_spec()))) == helm_values(a_spec())
    assert without_the_old_going_first(values) == values
    assert without_the_old_going_first({}) == {}


@pytest.mark.parametrize("strategy", [{"type": "Recreate", "rollingUpdate": None}, {}], ids=["named", "empty"])
def test_a_strategy_of_the_user_s_stays(strategy: dict[str, Any]) -> None:
    values = helm_values(a_spec(values={"operator": {"updateStrategy": strategy}}))

    assert with_the_old_going_first(values) == values


PLACELESS = CiliumPod("cilium-operator-1", "", CILIUM_OPERATOR, "Unschedulable: no node")
CRASHES = CiliumPod("cilium-operator-2", NODE, CILIUM_OPERATOR, "CrashLoopBackOff: no config")
STARTS = CiliumPod("cilium-operator-3", NODE, CILIUM_OPERATOR)
ENVOY = CiliumPod("cilium-envoy-1", NODE, "DaemonSet cilium-envoy", "CrashLoopBackOff: of its own")


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([], "it waits", id="there is none"),
        pytest.param([STARTS, ENVOY], "it waits", id="nothing is wrong with it"),
        pytest.param([PLACELESS], "it waits (pod cilium-operator-1: Unschedulable: no node)", id="it has no place"),
        pytest.param(
            [PLACELESS, CRASHES, ENVOY],
            "it waits (pod cilium-operator-2: CrashLoopBackOff: no config)",
            id="what fails on a node comes before what has none",
        ),
    ],
)
def test_what_waits_for_cilium_s_operator_says_why(pods: list[CiliumPod], expected: str) -> None:
    assert with_its_trouble("it waits", an_observation(other_pods=pods)) == expected
