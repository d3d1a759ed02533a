"""IPAM and findings in the status."""

from dataclasses import replace

import pytest

from builders import (
    EARLIER,
    MASK,
    NODE,
    POOL,
    VERSION,
    a_cilium_node,
    a_condition,
    a_foreign_revision,
    a_healthy_observation,
    a_revision,
    a_status,
    an_agent,
    an_observation,
    condition,
    with_node,
)
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import AppliedIpam, Ipam, NodeBlocks, UnreadyReason
from cilium_hybrid.plan.observation import Observation, PoolConfig, Revision
from cilium_hybrid.rules.rule import Violation
from evaluations import a_decided_evaluation, status_of

FULL = "10.85.0.0/24"
SETTLED = a_status(a_condition(ConditionType.READY, "True", Reason.IN_SYNC))
ADVICE = "append a CIDR to spec.ipam.podCIDRs, such as 10.85.1.0/24"


def three_nodes_on_two_blocks() -> Observation:
    observation = a_healthy_observation(a_revision(), nodes=3)
    third = "mi-0000000000000003"
    waiting = with_node(observation, third, agent=an_agent(third, ready=False))
    cilium_nodes = {**waiting.cilium_nodes, third: a_cilium_node(third, pod_cidrs=(), error="allocator full")}
    return replace(waiting, pool=PoolConfig((FULL,), 25), cilium_nodes=cilium_nodes)


def message(observation: Observation, kind: ConditionType) -> str:
    found = condition(status_of(a_decided_evaluation(observation)), kind)
    assert found is not None
    return found.message


def test_node_blocks_are_counted() -> None:
    assert status_of(a_decided_evaluation(a_healthy_observation(a_revision(), nodes=5))).ipam == Ipam(
        applied=AppliedIpam(pod_cidrs=(POOL,), mask_size=MASK),
        node_blocks=NodeBlocks(total=512, used=5, free=507),
        pods_per_node=124,
    )
    assert status_of(a_decided_evaluation(an_observation())).ipam is None


def test_a_node_without_a_block_is_reported_with_the_cidr_to_append() -> None:
    status = status_of(a_decided_evaluation(three_nodes_on_two_blocks(), unready_since=EARLIER, previous=SETTLED))
    expected = (
        "mi-0000000000000003 (NoPodCIDR: no pod CIDR: allocator full); 0 of 2 node blocks are free and "
        f"mi-0000000000000003 has no node block; {ADVICE}"
    )
    ready, nodes = condition(status, ConditionType.READY), condition(status, ConditionType.NODES_READY)

    assert ready is not None
    assert nodes is not None
    assert [node.reason for node in status.nodes.unready] == [UnreadyReason.NO_POD_CIDR]
    assert (ready.status, ready.message) == ("False", f"Cilium {VERSION} runs on 2 of 3 hybrid nodes: {expected}")
    assert nodes.message == expected
    assert status.ipam is not None
    assert status.ipam.exhausted == (FULL,)
    assert status.findings == (expected.partition("; ")[2],)


def test_a_shortage_is_reported_while_all_nodes_are_healthy() -> None:
    observation = replace(a_healthy_observation(a_revision(), nodes=2), pool=PoolConfig((FULL,), 25))

    assert message(observation, ConditionType.READY) == (
        f"Cilium {VERSION} runs on 2 of 2 hybrid nodes; 0 of 2 node blocks are free; {ADVICE}"
    )
    assert message(observation, ConditionType.NODES_READY) == "2 of 2 hybrid nodes are ready"


def test_findings_and_warnings_do_not_block_and_are_counted_in_ready() -> None:
    observation = a_healthy_observation(a_revision())
    stray = replace(
        observation,
        cilium_nodes={**observation.cilium_nodes, "ip-1": a_cilium_node("ip-1", pod_cidrs=["10.85.9.0/25"])},
        cloud_nodes=frozenset({"ip-1"}),
    )
    status = status_of(a_decided_evaluation(stray))
    warned = a_decided_evaluation(stray, warnings=(Violation(Reason.INVALID_VALUES, "spec.values.x", "is unknown"),))
    ready, warned_ready = condition(status, ConditionType.READY), condition(status_of(warned), ConditionType.READY)

    assert ready is not None
    assert warned_ready is not None
    (finding,) = status.findings
    assert "with a CiliumNode, whose block counts as used: ip-1; label them" in finding
    assert ready.status == "True"
    assert ready.message.endswith("1 of 1 hybrid nodes (1 finding, see status.findings)")
    assert warned_ready.message.endswith("(1 warning, see condition Valid) (1 finding, see status.findings)")


@pytest.mark.parametrize(
    ("revisions", "reported"),
    [
        pytest.param([a_foreign_revision()], False, id="never the operator's"),
        pytest.param([a_revision(), a_foreign_revision(2)], True, id="changed by someone else"),
    ],
)
def test_somebody_elses_release_gets_no_advice_on_ciliumnodes(revisions: list[Revision], reported: bool) -> None:
    """Its pools restrict the spec only if the operator has a part in the installation."""
    observation = a_healthy_observation(*revisions, nodes=2)
    doubled = a_cilium_node("ip-1", pod_cidrs=["10.85.0.0/25"])
    foreign = replace(
        observation,
        pool=PoolConfig((FULL,), 25),
        cilium_nodes={**observation.cilium_nodes, "ip-1": doubled},
        cloud_nodes=frozenset({"ip-1"}),
    )
    status = status_of(a_decided_evaluation(foreign))

    assert (status.ipam is not None) is reported
    assert status.findings == ()


def test_an_unknown_pool_is_not_reported() -> None:
    observation = replace(a_healthy_observation(a_revision()), pool=None)

    assert status_of(a_decided_evaluation(observation)).ipam is None
    assert NODE not in message(observation, ConditionType.READY)
