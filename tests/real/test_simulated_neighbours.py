"""A larger site, of which two nodes are real: Cilium's own operator allocates the blocks of all."""

import pytest

from real.site import NODES, RealSite
from testbed.nodes import hybrid_name

MINORS = ("1.18",)
SIMULATED = 6
ALL = {*NODES, *(hybrid_name(number) for number in range(3, 3 + SIMULATED))}
pytestmark = pytest.mark.real


def test_real_and_simulated_nodes_become_ready_with_blocks_of_their_own(site: RealSite) -> None:
    site.apply(version=site.version("1.18"))
    site.wait_for("InSync", ready="True", timeout=180)

    assert site.status()["nodes"]["summary"] == "8/8"
    found = site.cluster.objects("ciliumnodes.cilium.io")
    blocks = {item["metadata"]["name"]: item["spec"]["ipam"]["podCIDRs"] for item in found}
    assert set(blocks) == ALL
    assert len({block for given in blocks.values() for block in given}) == len(ALL)


def test_the_operator_of_cilium_runs_on_real_nodes_only(site: RealSite) -> None:
    pods = site.cluster.objects("pods", "kube-system", selector="app.kubernetes.io/name=cilium-operator")

    assert {pod["spec"]["nodeName"] for pod in pods} == set(NODES)


def test_a_rollout_goes_through_all_of_them_without_a_lost_packet(site: RealSite) -> None:
    flow = site.start_flow("across", NODES[0], NODES[1])
    before = site.agents()
    site.apply(version=site.version("1.18"), values={"debug": {"enabled": True}})
    site.wait_for("InSync", ready="True", timeout=300)

    assert site.restarted(before) == ALL
    report = flow.settle()
    assert (report.lost, report.stream_broken) == (0, "")
