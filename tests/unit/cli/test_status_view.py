from dataclasses import replace
from typing import Any

import pytest

from builders import (
    DIGEST,
    EARLIER,
    NODE,
    NOW,
    OTHER_DIGEST,
    a_condition,
    a_healthy_observation,
    a_node,
    a_status,
    an_agent,
    with_node,
)
from cilium_hybrid.adapters.kube.status_watch import Snapshot
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Nodes, Status, UnreadyNode, UnreadyReason
from cilium_hybrid.cli.status_view import NodeRow, Ready, document, exit_code, view
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.status.nodes import evaluate_nodes
from cilium_hybrid.reconcile.reconciler import dump

BLOCK, OTHER_BLOCK, THIRD_BLOCK = (("10.85.0.0/25",), ("10.85.0.128/25",), ("10.85.1.0/25",))
OTHER = "mi-0000000000000002"
READY = a_condition(ConditionType.READY, "True", Reason.IN_SYNC, message="fine")


def a_resource(status: Status | dict[str, Any], generation: int = 1) -> Resource:
    raw = dump(status) if isinstance(status, Status) else status
    return Resource(generation=generation, resource_version="7", spec={}, status=raw)


@pytest.mark.parametrize(
    ("status", "generation", "ready", "code"),
    [
        pytest.param(a_status(READY), 1, Ready("True", "InSync", "fine", current=True), 0, id="ready"),
        pytest.param(a_status(READY), 2, Ready("True", "InSync", "fine"), 1, id="the generation before was"),
        pytest.param(
            a_status(a_condition(ConditionType.READY, "False", Reason.ROLLING_OUT, message="moving")),
            1,
            Ready("False", "RollingOut", "moving", current=True),
            1,
            id="not ready",
        ),
        pytest.param(a_status(), 1, Ready(), 1, id="nothing is known"),
        pytest.param({}, 1, Ready(), 1, id="nothing was written"),
    ],
)
def test_ready_counts_where_it_speaks_of_the_present_generation(
    status: Status | dict[str, Any], generation: int, ready: Ready, code: int
) -> None:
    told = view(Snapshot(a_resource(status, generation)), NOW)

    assert told.ready == ready
    assert exit_code(told) == code
    assert document(told)["ready"] is (code == 0)


def test_every_node_is_judged_as_the_operator_judges_it_those_that_fail_first() -> None:
    crashing = an_agent(OTHER, ready=False, failure_message="CrashLoopBackOff")
    observation = with_node(a_healthy_observation(nodes=3), OTHER, agent=crashing)
    known = UnreadyNode(name=OTHER, reason=UnreadyReason.AGENT_NOT_READY, message="as it was", since=EARLIER)
    told = view(Snapshot(a_resource(a_status(nodes=Nodes(unready=(known,)))), observation), NOW)

    assert (
        told.nodes
        == evaluate_nodes(observation, DIGEST, {(OTHER, UnreadyReason.AGENT_NOT_READY): EARLIER}, NOW).report()
    )
    assert told.rows == (
        NodeRow(OTHER, UnreadyReason.AGENT_NOT_READY, "CrashLoopBackOff", EARLIER, OTHER_BLOCK),
        NodeRow(NODE, pod_cidrs=BLOCK),
        NodeRow("mi-0000000000000003", pod_cidrs=THIRD_BLOCK),
    )


def test_since_when_another_leg_fails_is_not_known() -> None:
    known = UnreadyNode(name=NODE, reason=UnreadyReason.AGENT_TAINT_PRESENT, message="as it was", since=EARLIER)
    observation = with_node(a_healthy_observation(), agent=an_agent(config_digest=OTHER_DIGEST))
    told = view(Snapshot(a_resource(a_status(nodes=Nodes(unready=(known,)))), observation), NOW)

    assert told.rows == (NodeRow(NODE, UnreadyReason.VERSION, "the agent runs an older configuration", None, BLOCK),)


def test_a_node_without_a_cilium_node_has_no_block() -> None:
    observation = replace(a_healthy_observation(), nodes={NODE: a_node(ready="Unknown")}, cilium_nodes={})
    told = view(Snapshot(a_resource(a_status()), observation), NOW)

    assert [(row.reason, row.pod_cidrs) for row in told.rows] == [(UnreadyReason.NODE_DISCONNECTED, ())]


def test_where_nodes_may_not_be_read_the_status_has_the_word() -> None:
    known = UnreadyNode(name=NODE, reason=UnreadyReason.AGENT_NOT_READY, message="crashed", since=EARLIER)
    nodes = Nodes(total=5, ready=4, unready=(known,))
    told = view(Snapshot(a_resource(a_status(nodes=nodes)), None, "nodes is forbidden", "no answer"), NOW)

    assert told.nodes == nodes
    assert told.rows == (NodeRow(NODE, UnreadyReason.AGENT_NOT_READY, "crashed", EARLIER),)
    assert (document(told)["incomplete"], document(told)["stale"]) == ("nodes is forbidden", "no answer")


def test_a_status_in_words_that_are_not_known_is_told_as_far_as_it_can_be() -> None:
    condition = {"type": "Ready", "status": "True", "reason": "News", "message": "m", "observedGeneration": 1}
    raw = {"conditions": [{"type": "Tomorrow"}, condition]}
    told = view(Snapshot(a_resource(raw), a_healthy_observation()), NOW)

    assert told.status is None
    assert told.ready == Ready("True", "News", "m", current=True)
    assert [row.name for row in told.rows] == [NODE]
    assert document(told)["status"] == raw


def test_the_document_holds_the_status_as_it_is_and_every_node() -> None:
    crashing = an_agent(OTHER, ready=False, failure_message="CrashLoopBackOff")
    known = UnreadyNode(name=OTHER, reason=UnreadyReason.AGENT_NOT_READY, message="as it was", since=EARLIER)
    status = a_status(READY, nodes=Nodes(unready=(known,)))
    observation = with_node(a_healthy_observation(nodes=2), OTHER, agent=crashing)

    assert document(view(Snapshot(a_resource(status), observation), NOW)) == {
        "generation": 1,
        "ready": True,
        "status": dump(status),
        "nodes": [
            {
                "name": OTHER,
                "ready": False,
                "reason": "AgentNotReady",
                "message": "CrashLoopBackOff",
                "since": "2026-03-01T11:00:00Z",
                "podCIDRs": list(OTHER_BLOCK),
            },
            {"name": NODE, "ready": True, "podCIDRs": list(BLOCK)},
        ],
    }
