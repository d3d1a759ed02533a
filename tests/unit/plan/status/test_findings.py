import pytest

from builders import NODE, a_cilium_node, a_node, an_agent, an_observation
from cilium_hybrid.api.status import MAX_FINDINGS, Ipam
from cilium_hybrid.plan.observation import CiliumOperator, CiliumPod, NodeConfigOverride
from cilium_hybrid.plan.rollout.operator_deployment import CILIUM_OPERATOR
from cilium_hybrid.plan.status.certificates import CERTIFICATES
from cilium_hybrid.plan.status.findings import findings
from cilium_hybrid.plan.status.ipam import IpamUsage
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE

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
        (
            f"nodes without the label {HYBRID_LABEL}={HYBRID_VALUE} with a CiliumNode, whose block counts as used: "
            f"{CLOUD}; label them, or delete their CiliumNodes once no agent runs there"
        ),
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


def test_there_are_at_most_as_many_findings_as_the_status_holds_and_the_worst_come_first() -> None:
    observation = an_observation(
        agents=[an_agent(CLOUD)],
        cilium_nodes=[a_cilium_node(CLOUD)],
        other_pods=[CiliumPod("cilium-operator-1", CLOUD, CILIUM_OPERATOR, "CrashLoopBackOff")],
        cilium_operator=CiliumOperator(2, 0, observed=True),
        nodes=[a_node(clock_skew=3)],
        cloud_nodes=[CLOUD],
        node_configs=tuple(NodeConfigOverride(f"kube-system/{name}", ("ipam",)) for name in "abc"),
    )
    ipam = IpamUsage(Ipam(), "few blocks are free", ("outside", "overlap"))
    found = findings(observation, ipam, CERTIFICATES, ("drift",), ("mi-9 is set aside",), rebuilt=True)

    assert len(found) == MAX_FINDINGS
    assert (found[0], found[3]) == ("few blocks are free", "mi-9 is set aside")
    assert found[2].startswith("RecordLost: ")
    assert found[-1] == "and 6 more findings; correct those above to see them"


def test_clocks_and_overrides_are_named() -> None:
    observation = an_observation(
        nodes=[a_node("mi-1", clock_skew=3), a_node("mi-2", clock_skew=1440), a_node("mi-3")],
        node_configs=(NodeConfigOverride("kube-system/lab", ("mtu", "enable-ipv4-masquerade")),),
    )

    assert findings(observation, None) == (
        (
            "CiliumNodeConfig kube-system/lab (enable-ipv4-masquerade) overrides settings of the release; these keys "
            "belong to the operator: remove them from the CiliumNodeConfig"
        ),
        (
            "clocks that differ from the API server's: mi-2 (by 1440 min), mi-1 (by 3 min); check the time "
            "synchronization of the nodes"
        ),
    )


def test_a_consistent_cluster_has_no_findings() -> None:
    observation = an_observation(
        nodes=[a_node()], agents=[an_agent(NODE)], cilium_nodes=[a_cilium_node(NODE)], cloud_nodes=[CLOUD]
    )

    assert findings(observation, IpamUsage(Ipam())) == ()


def test_a_shortage_comes_first() -> None:
    observation = an_observation(cilium_nodes=[a_cilium_node(CLOUD)], cloud_nodes=[CLOUD])
    ipam = IpamUsage(Ipam(), "few blocks are free", ("node blocks overlap",))
    first, second, third, last = findings(observation, ipam, ("a certificate expires",))

    assert (first, second, third) == ("few blocks are free", "a certificate expires", "node blocks overlap")
    assert CLOUD in last
