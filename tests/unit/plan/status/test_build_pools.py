"""What the status says of the addresses of pods, and of what is out of order."""

from dataclasses import replace

from builders import (
    EARLIER,
    NODE,
    VERSION,
    a_cilium_node,
    a_condition,
    a_healthy_observation,
    a_judged_report,
    a_revision,
    a_status,
    an_agent,
    an_observation,
    condition,
    with_node,
)
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Ipam, NodeBlocks, UnreadyReason
from cilium_hybrid.plan.observation import Observation, PoolConfig
from cilium_hybrid.plan.status.build import next_status
from cilium_hybrid.rules.rule import Violation

FULL = "10.85.0.0/24"
SETTLED = a_status(a_condition(ConditionType.READY, "True", Reason.IN_SYNC))
LINE = "append a CIDR to spec.ipam.podCIDRs, such as 10.85.1.0/24"


def three_nodes_on_two_blocks() -> Observation:
    observation = a_healthy_observation(a_revision(), nodes=3)
    third = "mi-0000000000000003"
    starved = with_node(observation, third, agent=an_agent(third, ready=False))
    cilium_nodes = {**starved.cilium_nodes, third: a_cilium_node(third, pod_cidrs=(), error="allocator full")}
    return replace(starved, pool=PoolConfig((FULL,), 25), cilium_nodes=cilium_nodes)


def message(observation: Observation, kind: ConditionType) -> str:
    found = condition(next_status(a_judged_report(observation)), kind)
    assert found is not None
    return found.message


def test_blocks_are_told() -> None:
    assert next_status(a_judged_report(a_healthy_observation(a_revision(), nodes=5))).ipam == Ipam(
        node_blocks=NodeBlocks(total=512, used=5, free=507), pods_per_node=124
    )
    assert next_status(a_judged_report(an_observation())).ipam is None


def test_a_node_without_a_block_is_told_with_the_line_to_append() -> None:
    status = next_status(a_judged_report(three_nodes_on_two_blocks(), failing_since=EARLIER, previous=SETTLED))
    told = (
        "mi-0000000000000003 (NoPodCIDR: no block of pod addresses: allocator full); no block of pod addresses is left "
        f"of 2, and mi-0000000000000003 has none: {LINE}"
    )
    ready, nodes = condition(status, ConditionType.READY), condition(status, ConditionType.NODES_READY)

    assert ready is not None
    assert nodes is not None
    assert [node.reason for node in status.nodes.unready] == [UnreadyReason.NO_POD_CIDR]
    assert (ready.status, ready.message) == ("False", f"Cilium {VERSION} runs on 2 of 3 hybrid nodes: {told}")
    assert nodes.message == told
    assert status.ipam is not None
    assert status.ipam.exhausted == (FULL,)
    assert status.findings == (told.partition("; ")[2],)


def test_what_runs_short_is_told_while_all_is_well() -> None:
    observation = replace(a_healthy_observation(a_revision(), nodes=2), pool=PoolConfig((FULL,), 25))

    assert message(observation, ConditionType.READY) == (
        f"Cilium {VERSION} runs on 2 of 2 hybrid nodes; no block of pod addresses is left of 2: {LINE}"
    )
    assert message(observation, ConditionType.NODES_READY) == "2 of 2 nodes pass"


def test_what_is_out_of_order_blocks_nothing_and_is_counted_in_ready() -> None:
    observation = a_healthy_observation(a_revision())
    strayed = replace(
        observation,
        cilium_nodes={**observation.cilium_nodes, "ip-1": a_cilium_node("ip-1", pod_cidrs=["10.85.9.0/25"])},
        cloud_nodes=frozenset({"ip-1"}),
    )
    status = next_status(a_judged_report(strayed))
    warned = a_judged_report(strayed, warnings=(Violation(Reason.INVALID_VALUES, "spec.values.x", "is unknown"),))
    ready, beside = condition(status, ConditionType.READY), condition(next_status(warned), ConditionType.READY)

    assert ready is not None
    assert beside is not None
    assert status.findings == ("CiliumNodes of cloud nodes: ip-1: delete them once no agent is there",)
    assert ready.status == "True"
    assert ready.message.endswith("1 of 1 hybrid nodes (1 to be looked at, see status.findings)")
    assert beside.message.endswith("(1 to be looked at, see condition Valid) (1 to be looked at, see status.findings)")


def test_a_pool_that_nobody_knows_of_is_not_told() -> None:
    observation = replace(a_healthy_observation(a_revision()), pool=None)

    assert next_status(a_judged_report(observation)).ipam is None
    assert NODE not in message(observation, ConditionType.READY)
