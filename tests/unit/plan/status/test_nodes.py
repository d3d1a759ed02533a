from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from builders import DIGEST, EARLIER, NODE, NOW, OTHER_DIGEST, a_cilium_node, a_node, an_agent, an_observation
from cilium_hybrid.api.status import UnreadyReason
from cilium_hybrid.plan.inputs import OUTDATED, Since
from cilium_hybrid.plan.observation import AgentPod, CiliumNode, HybridNode, NodeReady
from cilium_hybrid.plan.status.nodes import JOINING_GRACE, NodeReadiness, evaluate_nodes

HEALTHY = a_node(), an_agent(), a_cilium_node()


def evaluate(
    *facts: HybridNode | AgentPod | CiliumNode,
    since: Since | None = None,
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
            "node does not report to the API server",
            id="a disconnected node, whatever else is wrong",
        ),
        pytest.param(
            a_node(ready="False"),
            None,
            None,
            UnreadyReason.AGENT_NOT_READY,
            "no Cilium agent pod on the node",
            id="a node without an agent",
        ),
        pytest.param(
            a_node(),
            None,
            a_cilium_node(),
            UnreadyReason.AGENT_NOT_READY,
            "no Cilium agent pod on the node; the node is Ready because of leftover CNI files",
            id="a node that is Ready without an agent",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False, crash_message="CrashLoopBackOff: kernel too old"),
            a_cilium_node(pod_cidrs=()),
            UnreadyReason.AGENT_NOT_READY,
            "CrashLoopBackOff: kernel too old; no pod CIDR: not allocated yet",
            id="an agent that restarts after a crash",
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
            "CrashLoopBackOff; no pod CIDR: allocator full",
            id="an agent that crashes, before its missing pod CIDR",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False),
            a_cilium_node(**ALL_WRONG["cilium_node"]),
            UnreadyReason.NO_POD_CIDR,
            "no pod CIDR: allocator full",
            id="no pod CIDR, before the agent that waits for it",
        ),
        pytest.param(
            a_node(),
            an_agent(),
            a_cilium_node(error="overlaps"),
            UnreadyReason.NO_POD_CIDR,
            "pod CIDR error: overlaps",
            id="a pod CIDR with an error",
        ),
        pytest.param(
            a_node(),
            an_agent(ready=False),
            a_cilium_node(pod_cidrs=()),
            UnreadyReason.NO_POD_CIDR,
            "no pod CIDR: not allocated yet",
            id="a pod CIDR that is not allocated yet",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(ready=False, config_digest=OTHER_DIGEST),
            None,
            UnreadyReason.AGENT_NOT_READY,
            "agent is starting",
            id="an agent that starts, before its CiliumNode exists",
        ),
        pytest.param(
            a_node(ready="False", message="container runtime is down", agent_taint=True),
            an_agent(config_digest=OTHER_DIGEST),
            a_cilium_node(),
            UnreadyReason.NODE_NOT_READY,
            "container runtime is down",
            id="a kubelet that reports a problem",
        ),
        pytest.param(
            a_node(ready="False"),
            an_agent(),
            a_cilium_node(),
            UnreadyReason.NODE_NOT_READY,
            "kubelet reports NotReady",
            id="a kubelet that reports no cause",
        ),
        pytest.param(
            a_node(agent_taint=True),
            an_agent(config_digest=OTHER_DIGEST),
            a_cilium_node(),
            UnreadyReason.AGENT_TAINT_PRESENT,
            "taint node.cilium.io/agent-not-ready not removed yet",
            id="a taint that stays, with an outdated agent",
        ),
        pytest.param(
            a_node(agent_taint=True),
            an_agent(),
            a_cilium_node(),
            UnreadyReason.AGENT_TAINT_PRESENT,
            "taint node.cilium.io/agent-not-ready not removed yet",
            id="a taint that stays",
        ),
    ],
)
def test_the_root_cause_is_the_first_reason_that_applies(
    node: HybridNode, agent: AgentPod | None, cilium_node: CiliumNode | None, reason: UnreadyReason, message: str
) -> None:
    (unready,) = evaluate(*(fact for fact in (node, agent, cilium_node) if fact is not None)).unready

    assert (unready.name, unready.reason, unready.message, unready.since) == (NODE, reason, message, NOW)


@pytest.mark.parametrize("ready", ["True", "False"])
def test_an_unschedulable_agent_is_reported_with_the_schedulers_message(ready: NodeReady) -> None:
    pending = replace(an_observation(nodes=[a_node(ready=ready)]), unplaced={NODE: "Unschedulable: Too many pods"})
    (unready,) = evaluate_nodes(pending, DIGEST, {}, NOW).unready
    # The old pod still exists.
    replaced = replace(pending, agents={NODE: an_agent()}, nodes={NODE: a_node()})

    message = "agent pod cannot be scheduled on the node: Unschedulable: Too many pods"
    assert (unready.reason, unready.message) == (UnreadyReason.AGENT_NOT_READY, message)
    assert evaluate_nodes(replaced, DIGEST, {}, NOW).unready == ()


def test_a_healthy_node_is_ready() -> None:
    assert evaluate(*HEALTHY) == NodeReadiness(total=1, agents_ready=1, up_to_date=1, unready=())


def test_a_node_without_its_cilium_node_may_be_ready() -> None:
    assert evaluate(a_node(), an_agent()).unready == ()


def test_agents_of_deleted_nodes_are_not_counted() -> None:
    assert (
        evaluate(*HEALTHY, an_agent("deleted"), a_cilium_node("deleted")).to_status() == evaluate(*HEALTHY).to_status()
    )


def test_nodes_are_counted() -> None:
    readiness = evaluate(
        *(a_node("healthy"), an_agent("healthy"), a_cilium_node("healthy")),
        *(a_node("old"), an_agent("old", config_digest=OTHER_DIGEST), a_cilium_node("old")),
        *(a_node("starting"), an_agent("starting", ready=False), a_cilium_node("starting")),
        *(a_node("away", ready="Unknown"), an_agent("away", ready=False)),
    )
    nodes = readiness.to_status()

    assert (nodes.total, nodes.ready, nodes.summary) == (4, 2, "2/4")
    assert (nodes.up_to_date, nodes.updated) == (3, "3/4")
    assert (nodes.agents_ready, nodes.disconnected) == (2, 1)
    assert [node.name for node in readiness.connected_unready] == ["starting"]
    assert readiness.outdated == ("old",)


def test_a_healthy_node_whose_agent_is_outdated_is_ready() -> None:
    names = [str(number) for number in range(5)]
    agents = [an_agent(name, config_digest=DIGEST if name == "0" else OTHER_DIGEST) for name in names]
    readiness = evaluate(*map(a_node, names), *agents, *map(a_cilium_node, names))
    nodes = readiness.to_status()

    assert (nodes.summary, nodes.updated, nodes.unready) == ("5/5", "1/5", ())
    assert list(readiness.outdated) == names[1:]


def test_an_outdated_agent_keeps_the_time_it_was_first_observed() -> None:
    outdated = a_node(), an_agent(config_digest=OTHER_DIGEST), a_cilium_node()
    first = evaluate(*outdated, now=EARLIER)
    later = evaluate(*outdated, since=first.since)

    assert first.since == later.since == {(NODE, OUTDATED): EARLIER}
    assert first.grace_ends_at(EARLIER) == EARLIER + JOINING_GRACE
    assert first.outdated_past_grace(EARLIER) == ()
    assert first.outdated_past_grace(EARLIER + JOINING_GRACE) == (NODE,)


def test_unready_nodes_are_sorted_by_severity_then_name() -> None:
    nodes = {
        "6": (a_node("6", ready="Unknown"),),
        "5": (a_node("5", ready="False"), an_agent("5")),
        "4": (a_node("4", agent_taint=True), an_agent("4", config_digest=None)),
        "3": (a_node("3"), an_agent("3"), a_cilium_node("3", pod_cidrs=())),
        "2": (a_node("2"),),
        "1": (a_node("1"),),
    }
    readiness = evaluate(*(fact for facts in nodes.values() for fact in facts))

    assert [node.name for node in readiness.unready] == ["1", "2", "3", "4", "5", "6"]


def test_at_most_ten_nodes_are_named_and_all_are_counted() -> None:
    nodes = evaluate(*(a_node(f"{number:02}") for number in range(12))).to_status()

    assert nodes.unready_reasons == {UnreadyReason.AGENT_NOT_READY: 12}

    assert [node.name for node in nodes.unready] == [f"{number:02}" for number in range(10)]
    assert nodes.summary == "0/12"


def test_an_unready_node_keeps_the_time_it_was_first_observed() -> None:
    first = evaluate(a_node(), now=EARLIER)
    later = evaluate(a_node(), since=first.since)

    assert later.unready[0].since == EARLIER


def test_another_reason_starts_at_its_own_time() -> None:
    first = evaluate(a_node(), now=EARLIER)
    later = evaluate(a_node(), an_agent(ready=False), a_cilium_node(pod_cidrs=()), since=first.since)

    assert later.unready[0].since == NOW


UNREADY_SINCE_EARLIER = evaluate(
    a_node("agent"),
    *(a_node("kubelet", ready="False"), an_agent("kubelet"), a_cilium_node("kubelet")),
    a_node("away", ready="Unknown"),
    now=EARLIER,
)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(timedelta(), [], id="a node that just joined"),
        pytest.param(JOINING_GRACE - timedelta(seconds=1), [], id="within the grace period"),
        pytest.param(JOINING_GRACE, ["agent"], id="after the grace period, but not the kubelet or the connection"),
    ],
)
def test_nodes_that_are_unready_because_of_cilium(after: timedelta, expected: list[str]) -> None:
    assert [node.name for node in UNREADY_SINCE_EARLIER.caused_by_cilium(EARLIER + after)] == expected


def test_the_next_recheck_is_when_a_grace_period_ends() -> None:
    ends = EARLIER + JOINING_GRACE

    assert UNREADY_SINCE_EARLIER.grace_ends_at(EARLIER) == ends
    assert UNREADY_SINCE_EARLIER.grace_ends_at(ends - timedelta(seconds=1)) == ends
    assert UNREADY_SINCE_EARLIER.grace_ends_at(ends) is None
    assert evaluate(*HEALTHY).grace_ends_at(NOW) is None
