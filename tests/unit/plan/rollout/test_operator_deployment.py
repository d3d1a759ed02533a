from typing import Any

import pytest

from builders import NODE, a_node, a_spec, an_observation
from cilium_hybrid.plan.observation import CORDONED, CiliumPod, HybridNode
from cilium_hybrid.plan.rollout.operator_deployment import (
    CILIUM_OPERATOR,
    has_single_operator_node,
    with_old_operator_stopped_first,
    with_operator_failure,
    without_old_operator_stopped_first,
)
from cilium_hybrid.plan.values import helm_values

A, B, C = a_node("a"), a_node("b"), a_node("c")
DISCONNECTED, CORDONED_NODE, JOINING = (
    a_node("b", ready="Unknown"),
    a_node("b", taints=(CORDONED,)),
    a_node("b", ready="False"),
)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([], False, id="no node has joined"),
        pytest.param([A], True, id="a single node"),
        pytest.param([A, B], False, id="two nodes"),
        pytest.param([A, JOINING], False, id="a joining node can run it"),
        pytest.param([A, DISCONNECTED], True, id="a disconnected node cannot run it"),
        pytest.param([A, CORDONED_NODE], True, id="a cordoned node cannot run it"),
        pytest.param([A, DISCONNECTED, C], False, id="two of three nodes"),
        pytest.param([DISCONNECTED], True, id="no node can run it"),
    ],
)
def test_whether_only_one_node_can_run_the_cilium_operator(nodes: list[HybridNode], expected: bool) -> None:
    assert has_single_operator_node(an_observation(nodes=nodes)) is expected


def test_the_strategy_that_stops_the_old_replica_first_changes_nothing_else() -> None:
    values = helm_values(a_spec(values={"operator": {"replicas": 3}}))
    changed = with_old_operator_stopped_first(values)

    assert changed["operator"].pop("updateStrategy") == {"rollingUpdate": {"maxUnavailable": "100%"}}
    assert changed == values
    assert "updateStrategy" not in values["operator"]


def test_the_strategy_can_be_removed_from_released_values() -> None:
    values = helm_values(a_spec(values={"operator": {"updateStrategy": {"type": "Recreate"}}}))

    assert without_old_operator_stopped_first(with_old_operator_stopped_first(helm_values(a_spec()))) == helm_values(
        a_spec()
    )
    assert without_old_operator_stopped_first(values) == values
    assert without_old_operator_stopped_first({}) == {}


@pytest.mark.parametrize("strategy", [{"type": "Recreate", "rollingUpdate": None}, {}], ids=["set", "empty"])
def test_a_strategy_in_the_users_values_stays(strategy: dict[str, Any]) -> None:
    values = helm_values(a_spec(values={"operator": {"updateStrategy": strategy}}))

    assert with_old_operator_stopped_first(values) == values


UNSCHEDULED = CiliumPod("cilium-operator-1", "", CILIUM_OPERATOR, "Unschedulable: no node")
CRASHING = CiliumPod("cilium-operator-2", NODE, CILIUM_OPERATOR, "CrashLoopBackOff: no config")
STARTING = CiliumPod("cilium-operator-3", NODE, CILIUM_OPERATOR)
ENVOY = CiliumPod("cilium-envoy-1", NODE, "DaemonSet cilium-envoy", "CrashLoopBackOff: Envoy")


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([], "waiting", id="no pod"),
        pytest.param([STARTING, ENVOY], "waiting", id="no failed pod"),
        pytest.param([UNSCHEDULED], "waiting (pod cilium-operator-1: Unschedulable: no node)", id="an unscheduled pod"),
        pytest.param(
            [UNSCHEDULED, CRASHING, ENVOY],
            "waiting (pod cilium-operator-2: CrashLoopBackOff: no config)",
            id="a scheduled pod before an unscheduled one",
        ),
    ],
)
def test_a_message_names_the_failed_pod_of_the_cilium_operator(pods: list[CiliumPod], expected: str) -> None:
    assert with_operator_failure("waiting", an_observation(other_pods=pods)) == expected
