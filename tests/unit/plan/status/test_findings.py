import pytest

from builders import NODE, a_cilium_node, a_node, an_agent, an_observation
from cilium_hybrid.api.status import MAX_FINDINGS, Ipam
from cilium_hybrid.plan.observation import CiliumOperator, CiliumPod
from cilium_hybrid.plan.rollout.operator_deployment import CILIUM_OPERATOR
from cilium_hybrid.plan.status.certificates import CERTIFICATES
from cilium_hybrid.plan.status.findings import findings
from cilium_hybrid.plan.status.ipam import IpamUsage

CLOUD = "ip-192-168-0-1"
ON_CLOUD = f"cilium-{CLOUD} on {CLOUD}"


def test_agents_and_cilium_nodes_on_cloud_nodes_are_found() -> None:
    observation = an_observation(
        nodes=[a_node()],
        agents=[an_agent(), an_agent(CLOUD), an_agent("deleted")],
        cilium_nodes=[a_cilium_node(), a_cilium_node(CLOUD), a_cilium_node("deleted")],
        cloud_nodes=[CLOUD, "ip-192-168-0-2"],
    )

    assert findings(observation, None) == (
        f"agents on cloud nodes: {ON_CLOUD}; restore the node affinity of DaemonSet cilium",
        f"CiliumNodes of cloud nodes: {CLOUD}; delete them once no agent runs there",
    )


def test_other_pods_on_cloud_nodes_are_named_with_their_workloads() -> None:
    observation = an_observation(
        nodes=[a_node()],
        other_pods=[
            CiliumPod("cilium-operator-2", CLOUD, "Deployment cilium-operator"),
            CiliumPod("cilium-operator-1", NODE, "Deployment cilium-operator"),
            CiliumPod("cilium-pre-flight-check-1", "deleted", "DaemonSet cilium-pre-flight-check"),
            CiliumPod("cilium-envoy-1", CLOUD, "DaemonSet cilium-envoy"),
        ],
        cloud_nodes=[CLOUD],
    )

    (found,) = findings(observation, None)

    assert found == (
        f"other Cilium pods on cloud nodes: cilium-envoy-1 on {CLOUD}, cilium-operator-2 on {CLOUD}; "
        "restore the node affinity of DaemonSet cilium-envoy, Deployment cilium-operator"
    )


@pytest.mark.parametrize(
    ("available", "failure_message", "nodes", "found"),
    [
        pytest.param(0, "CrashLoopBackOff: no config", 1, True, id="a crashing pod"),
        pytest.param(0, "", 1, False, id="a starting pod"),
        pytest.param(1, "Unschedulable: no node", 1, False, id="one available replica is enough"),
        pytest.param(0, "Unschedulable: no node", 0, False, id="no node has joined"),
    ],
)
def test_a_failed_cilium_operator_is_reported_with_its_cause(
    available: int, failure_message: str, nodes: int, found: bool
) -> None:
    observation = an_observation(
        cilium_operator=CiliumOperator(2, available, observed=True),
        nodes=[a_node(str(number)) for number in range(nodes)],
        other_pods=[CiliumPod("cilium-operator-1", NODE, CILIUM_OPERATOR, failure_message)],
    )
    expected = (
        f"no replica of the Cilium operator is available (pod cilium-operator-1: {failure_message}), so nodes that "
        "join get no pod CIDR; check its logs and its values"
    )

    assert findings(observation, None) == ((expected,) if found else ())


def test_there_are_at_most_as_many_kinds_as_the_status_holds() -> None:
    observation = an_observation(
        agents=[an_agent(CLOUD)],
        cilium_nodes=[a_cilium_node(CLOUD)],
        other_pods=[CiliumPod("cilium-operator-1", CLOUD, CILIUM_OPERATOR, "CrashLoopBackOff")],
        cilium_operator=CiliumOperator(2, 0, observed=True),
        nodes=[a_node()],
        cloud_nodes=[CLOUD],
    )
    # Two kinds of inconsistent node blocks, and three certificates.
    found = findings(observation, IpamUsage(Ipam(), "few blocks are free", ("outside", "overlap")), CERTIFICATES)

    assert len(found) == 10
    assert len(found) <= MAX_FINDINGS


def test_a_consistent_cluster_has_no_findings() -> None:
    observation = an_observation(
        nodes=[a_node()], agents=[an_agent(NODE)], cilium_nodes=[a_cilium_node(NODE)], cloud_nodes=[CLOUD]
    )

    assert findings(observation, IpamUsage(Ipam())) == ()


def test_a_shortage_comes_first_and_inconsistent_blocks_last() -> None:
    observation = an_observation(cilium_nodes=[a_cilium_node(CLOUD)], cloud_nodes=[CLOUD])
    ipam = IpamUsage(Ipam(), "few blocks are free", ("node blocks overlap",))
    first, second, between, last = findings(observation, ipam, ("a certificate expires",))

    assert (first, second, last) == ("few blocks are free", "a certificate expires", "node blocks overlap")
    assert CLOUD in between
