from builders import NODE, a_cilium_node, a_node, an_agent, an_observation
from cilium_hybrid.api.status import MAX_FINDINGS, Ipam
from cilium_hybrid.plan.certificates import CERTIFICATES
from cilium_hybrid.plan.findings import findings
from cilium_hybrid.plan.ipam import IpamVerdict
from cilium_hybrid.plan.observation import CiliumPod

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


def test_there_are_never_more_kinds_than_the_status_has_room_for() -> None:
    observation = an_observation(
        agents=[an_agent(CLOUD)],
        cilium_nodes=[a_cilium_node(CLOUD)],
        other_pods=[CiliumPod("cilium-operator-1", CLOUD, "Deployment cilium-operator")],
        cloud_nodes=[CLOUD],
    )
    # Pools tell of blocks outside of them and of blocks that overlap; of certificates there are three.
    found = findings(observation, IpamVerdict(Ipam(), "few are left", ("outside", "overlap")), CERTIFICATES)

    assert len(found) == 9
    assert len(found) <= MAX_FINDINGS


def test_where_all_is_in_its_place_nothing_is_found() -> None:
    observation = an_observation(
        nodes=[a_node()], agents=[an_agent(NODE)], cilium_nodes=[a_cilium_node(NODE)], cloud_nodes=[CLOUD]
    )

    assert findings(observation, IpamVerdict(Ipam())) == ()


def test_what_runs_short_comes_first_and_what_is_wrong_with_blocks_last() -> None:
    observation = an_observation(cilium_nodes=[a_cilium_node(CLOUD)], cloud_nodes=[CLOUD])
    ipam = IpamVerdict(Ipam(), "few are left", ("blocks overlap",))
    first, second, between, last = findings(observation, ipam, ("a certificate ends",))

    assert (first, second, last) == ("few are left", "a certificate ends", "blocks overlap")
    assert CLOUD in between
