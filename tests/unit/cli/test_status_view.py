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
from cilium_hybrid.cli.status_view import NodeState, ReadyCondition, build_view, exit_code, to_document
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
        pytest.param(a_status(READY), 1, ReadyCondition("True", "InSync", "fine", current=True), 0, id="ready"),
        pytest.param(
            a_status(READY), 2, ReadyCondition("True", "InSync", "fine"), 1, id="the previous generation was ready"
        ),
        pytest.param(
            a_status(a_condition(ConditionType.READY, "False", Reason.ROLLING_OUT, message="updating")),
            1,
            ReadyCondition("False", "RollingOut", "updating", current=True),
            1,
            id="not ready",
        ),
        pytest.param(a_status(), 1, ReadyCondition(), 1, id="no condition"),
        pytest.param({}, 1, ReadyCondition(), 1, id="no status"),
    ],
)
def test_ready_counts_only_at_the_current_generation(
    status: Status | dict[str, Any], generation: int, ready: ReadyCondition, code: int
) -> None:
    view = build_view(Snapshot(a_resource(status, generation)), NOW)

    assert view.ready == ready
    assert exit_code(view) == code
    assert to_document(view)["ready"] is (code == 0)


def test_a_stale_state_is_neither_ready_nor_unready() -> None:
    snapshot = Snapshot(a_resource(a_status(READY), 1), stale_reason="no answer from the API server")

    assert exit_code(build_view(snapshot, NOW)) == 2


def test_nodes_are_evaluated_as_the_operator_does_unready_ones_first() -> None:
    crashing = an_agent(OTHER, ready=False, failure_message="CrashLoopBackOff")
    observation = with_node(a_healthy_observation(nodes=3), OTHER, agent=crashing)
    known = UnreadyNode(name=OTHER, reason=UnreadyReason.AGENT_NOT_READY, message="unchanged", since=EARLIER)
    view = build_view(Snapshot(a_resource(a_status(nodes=Nodes(unready=(known,)))), observation), NOW)

    assert (
        view.nodes
        == evaluate_nodes(observation, DIGEST, {(OTHER, UnreadyReason.AGENT_NOT_READY): EARLIER}, NOW).to_status()
    )
    assert view.node_states == (
        NodeState(OTHER, UnreadyReason.AGENT_NOT_READY, "CrashLoopBackOff", EARLIER, OTHER_BLOCK),
        NodeState(NODE, pod_cidrs=BLOCK),
        NodeState("mi-0000000000000003", pod_cidrs=THIRD_BLOCK),
    )


def test_the_time_of_another_reason_is_not_used() -> None:
    known = UnreadyNode(name=NODE, reason=UnreadyReason.AGENT_TAINT_PRESENT, message="unchanged", since=EARLIER)
    crashing = an_agent(ready=False, failure_message="CrashLoopBackOff")
    observation = with_node(a_healthy_observation(), agent=crashing)
    view = build_view(Snapshot(a_resource(a_status(nodes=Nodes(unready=(known,)))), observation), NOW)

    assert view.node_states == (NodeState(NODE, UnreadyReason.AGENT_NOT_READY, "CrashLoopBackOff", None, BLOCK),)


def test_a_healthy_node_with_an_outdated_agent_is_ready_and_says_so() -> None:
    observation = with_node(a_healthy_observation(), agent=an_agent(config_digest=OTHER_DIGEST))
    view = build_view(Snapshot(a_resource(a_status()), observation), NOW)
    message = "agent runs an outdated configuration"

    assert view.node_states == (NodeState(NODE, message=message, pod_cidrs=BLOCK),)
    assert (view.nodes.ready, view.nodes.up_to_date) == (1, 0)
    assert to_document(view)["nodes"] == [{"name": NODE, "ready": True, "message": message, "podCIDRs": list(BLOCK)}]


def test_a_node_without_a_cilium_node_has_no_pod_cidr() -> None:
    observation = replace(a_healthy_observation(), nodes={NODE: a_node(ready="Unknown")}, cilium_nodes={})
    view = build_view(Snapshot(a_resource(a_status()), observation), NOW)

    assert [(row.reason, row.pod_cidrs) for row in view.node_states] == [(UnreadyReason.NODE_DISCONNECTED, ())]


def test_without_permission_to_read_nodes_those_of_the_status_are_shown() -> None:
    known = UnreadyNode(name=NODE, reason=UnreadyReason.AGENT_NOT_READY, message="crashed", since=EARLIER)
    nodes = Nodes(total=5, ready=4, unready=(known,))
    view = build_view(Snapshot(a_resource(a_status(nodes=nodes)), None, "nodes is forbidden", "no answer"), NOW)

    assert view.nodes == nodes
    assert view.node_states == (NodeState(NODE, UnreadyReason.AGENT_NOT_READY, "crashed", EARLIER),)
    assert (to_document(view)["incomplete"], to_document(view)["stale"]) == ("nodes is forbidden", "no answer")


def test_a_status_of_a_different_version_is_shown_as_far_as_possible() -> None:
    condition = {"type": "Ready", "status": "True", "reason": "FutureReason", "message": "m", "observedGeneration": 1}
    raw = {"conditions": [{"type": "FutureType"}, condition]}
    view = build_view(Snapshot(a_resource(raw), a_healthy_observation()), NOW)

    assert view.status is None
    assert view.ready == ReadyCondition("True", "FutureReason", "m", current=True)
    assert [row.name for row in view.node_states] == [NODE]
    assert to_document(view)["status"] == raw


def test_the_document_has_the_unchanged_status_and_every_node() -> None:
    crashing = an_agent(OTHER, ready=False, failure_message="CrashLoopBackOff")
    known = UnreadyNode(name=OTHER, reason=UnreadyReason.AGENT_NOT_READY, message="unchanged", since=EARLIER)
    status = a_status(READY, nodes=Nodes(unready=(known,)))
    observation = with_node(a_healthy_observation(nodes=2), OTHER, agent=crashing)

    assert to_document(build_view(Snapshot(a_resource(status), observation), NOW)) == {
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
