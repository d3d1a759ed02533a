"""Address pools and nodes that leave, with Cilium's own allocation. The tests build on each other, in order."""

from typing import Any

import pytest

from real.site import NODES, RealSite
from testbed.cluster import Cluster
from testbed.processes import wait_until

MINORS = ("1.18",)
ONE_BLOCK, MORE = "10.85.0.0/25", "10.86.0.0/24"
pytestmark = pytest.mark.real


def _blocks(cluster: Cluster) -> dict[str, list[str]]:
    found = cluster.objects("ciliumnodes.cilium.io")
    return {item["metadata"]["name"]: item["spec"]["ipam"].get("podCIDRs", []) for item in found}


def _apply(site: RealSite, *pools: str) -> None:
    site.apply(version=site.version("1.18"), ipam={"podCIDRs": list(pools), "maskSize": 25})


def _unready(site: RealSite) -> list[dict[str, Any]]:
    unready: list[dict[str, Any]] = site.status().get("nodes", {}).get("unready", [])
    return unready


def test_a_pool_with_one_block_for_two_nodes_names_the_node_without_one(site: RealSite) -> None:
    _apply(site, ONE_BLOCK)
    wait_until(
        lambda: (
            [(node["reason"], "allocator full" in node["message"]) for node in _unready(site)] == [("NoPodCIDR", True)]
        ),
        timeout=120,
        what="one node has no block",
        needs=[site.operator],
    )

    without = [name for name, blocks in _blocks(site.cluster).items() if not blocks]
    assert [node["name"] for node in _unready(site)] == without


def test_an_appended_pool_gives_it_one(site: RealSite) -> None:
    before = _blocks(site.cluster)
    _apply(site, ONE_BLOCK, MORE)
    site.wait_for("InSync", ready="True", timeout=180)

    after = _blocks(site.cluster)
    kept = {name: blocks for name, blocks in before.items() if blocks}
    assert {name: after[name] for name in kept} == kept
    assert all(after.values())
    address = site.start_pod("from-the-new-pool", min(after.keys() - kept.keys()), "sleep", "infinity")
    assert address.startswith("10.86.0.")


def test_a_node_that_was_away_keeps_its_block_and_its_agent(site: RealSite) -> None:
    before, agents = _blocks(site.cluster), site.agents()
    site.cluster.disconnect(NODES[1])
    site.wait_for("NodesDisconnected", ready="True", timeout=60)
    assert [(node["name"], node["reason"]) for node in _unready(site)] == [(NODES[1], "NodeDisconnected")]
    site.cluster.reconnect(NODES[1])
    site.wait_for("InSync", ready="True", timeout=120)

    assert _blocks(site.cluster) == before
    assert site.agents() == agents
