"""From the install to an update of every agent, with real packets. The tests build on each other, in order."""

import pytest

from real.site import NODES, RealSite

MINORS = ("1.18",)


@pytest.fixture(scope="module")
def installed(site: RealSite) -> RealSite:
    site.apply(version=site.version("1.18"))
    site.wait_for("InSync", ready="True", timeout=120)
    return site


def test_one_manifest_makes_real_nodes_ready(installed: RealSite) -> None:
    status = installed.status()

    assert status["nodes"]["summary"] == "2/2"
    assert installed.cluster.ready_nodes() == 4
    blocks = installed.cluster.objects("ciliumnodes.cilium.io")
    assert {block["metadata"]["name"] for block in blocks} == set(NODES)


@pytest.mark.parametrize("node", NODES)
def test_the_agent_itself_reports_that_all_is_well(installed: RealSite, node: str) -> None:
    """What `kubectl exec ds/cilium -- cilium-dbg status` says."""
    status = installed.agent_status(node)
    failing = [
        controller["name"]
        for controller in status["controllers"]
        if controller["status"].get("consecutive-failure-count")
    ]

    assert (status["cilium"]["state"], status["kubernetes"]["state"]) == ("Ok", "Ok")
    assert status["ipam"]["allocations"], "the addresses of the agent are from its block"
    assert failing == []


def test_no_packet_is_lost_while_every_agent_is_updated(installed: RealSite) -> None:
    across = installed.start_flow("across", NODES[0], NODES[1])
    within = installed.start_flow("within", NODES[0], NODES[0])
    before = installed.agents()
    installed.apply(version=installed.version("1.18"), values={"debug": {"enabled": True}})
    installed.wait_for("InSync", ready="True", timeout=120)

    assert installed.restarted(before) == set(NODES)
    for flow in (across, within):
        report = flow.settle()
        assert (report.lost, report.stream_broken) == (0, ""), report
        assert report.sent > 200, report
