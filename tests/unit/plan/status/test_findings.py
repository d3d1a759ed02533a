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
        agents=[an_agent(), an_agent(CLOUD), an_agent("gone")],
        cilium_nodes=[a_cilium_node(), a_cilium_node(CLOUD), a_cilium_node("gone")],
        cloud_nodes=[CLOUD, "ip-192-168-0-2"],
    )

    assert findings(observation, None) == (
        f"agents on cloud nodes: {ON_CLOUD}: see that the node affinity of DaemonSet cilium is the released one",
        f"CiliumNodes of cloud nodes: {CLOUD}: delete them once no agent is there",
    )


def test_other_pods_on_cloud_nodes_are_named_with_the_workloads_that_placed_them() -> None:
    observation = an_observation(
        nodes=[a_node()],
        other_pods=[
            CiliumPod("cilium-operator-2", CLOUD, "Deployment cilium-operator"),
            CiliumPod("cilium-operator-1", NODE, "Deployment cilium-operator"),
            CiliumPod("cilium-pre-flight-check-1", "gone", "DaemonSet cilium-pre-flight-check"),
            CiliumPod("cilium-envoy-1", CLOUD, "DaemonSet cilium-envoy"),
        ],
        cloud_nodes=[CLOUD],
    )

    (found,) = findings(observation, None)

    assert found == (
        f"other pods of Cilium on cloud nodes: cilium-envoy-1 on {CLOUD}, cilium-operator-2 on {CLOUD}: "
        "see that the node affinity of DaemonSet cilium-envoy, Deployment cilium-operator is the released one"
    )


@pytest.mark.parametrize(
    ("available", "failure_message", "nodes", "found"),
    [
        pytest.param(0, "CrashLoopBackOff: no config", 1, True, id="it crashes"),
        pytest.param(0, "", 1, False, id="it starts"),
        pytest.param(1, "Unschedulable: no node", 1, False, id="one is enough"),
        pytest.param(0, "Unschedulable: no node", 0, False, id="no node has joined"),
    ],
)
def test_a_cilium_operator_that_does_not_run_is_told_with_its_cause(
    available: int, failure_message: str, nodes: int, found: bool
) -> None:
    observation = an_observation(
        cilium_operator=CiliumOperator(2, available, observed=True),
        nodes=[a_node(str(number)) for number in range(nodes)],
        other_pods=[CiliumPod("cilium-operator-1", NODE, CILIUM_OPERATOR, failure_message)],
    )
    told = (
        f"no Cilium operator is available (pod cilium-operator-1: {failure_message}): a node that joins gets no pod addresses "
        "until one is: see its log, or change what it is given"
    )

    assert findings(observation, None) == ((told,) if found else ())


def test_there_are_never_more_kinds_than_the_status_has_room_for() -> None:
    observation = an_observation(
        agents=[an_agent(CLOUD)],
        cilium_nodes=[a_cilium_node(CLOUD)],
        other_pods=[CiliumPod("cilium-operator-1", CLOUD, CILIUM_OPERATOR, "CrashLoopBackOff")],
        cilium_operator=CiliumOperator(2, 0, observed=True),
        nodes=[a_node()],
        cloud_nodes=[CLOUD],
    )
    # Pools tell of blocks outside of them and of blocks that overlap; of certificates there are three.
    found = findings(observation, IpamUsage(Ipam(), "few are left", ("outside", "overlap")), CERTIFICATES)

    assert len(found) == 10
    assert len(found) <= MAX_FINDINGS


def test_where_all_is_in_its_place_nothing_is_found() -> None:
    observation = an_observation(
        nodes=[a_node()], agents=[an_agent(NODE)], cilium_nodes=[a_cilium_node(NODE)], cloud_nodes=[CLOUD]
    )

    assert findings(observation, IpamUsage(Ipam())) == ()


def test_what_runs_short_comes_first_and_what_is_wrong_with_blocks_last() -> None:
    observation = an_observation(cilium_nodes=[a_cilium_node(CLOUD)], cloud_nodes=[CLOUD])
    ipam = IpamUsage(Ipam(), "few are left", ("blocks overlap",))
    first, second, between, last = findings(observation, ipam, ("a certificate ends",))

    assert (first, second, last) == ("few are left", "a certificate ends", "blocks overlap")
    assert CLOUD in between
