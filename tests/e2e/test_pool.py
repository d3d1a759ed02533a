"""A pool of two blocks for three nodes: what the status says, and which edits of the pools are possible."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.site import Site, start_site
from testbed.processes import CommandError, wait_until
from testbed.registry import Registry

POOL = "10.85.0.0/24"
APPENDED = "10.85.1.0/24"
CILIUM_NODES = "ciliumnodes.cilium.io"


@pytest.fixture(scope="module")
def exhausted(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Site]:
    with start_site(tmp_path_factory.mktemp("cluster"), registry, hybrid=3) as site:
        site.operator.start()
        site.apply(ipam={"podCIDRs": [POOL], "maskSize": 25})
        yield site
        site.operator.stop()


def _node_without_block(site: Site) -> dict[str, Any] | None:
    unready = site.status().get("nodes", {}).get("unready", [])
    affected = [node for node in unready if node["reason"] == "NoPodCIDR" and "allocator full" in node["message"]]
    return affected[0] if len(unready) == len(affected) == 1 else None


def test_a_node_without_a_block_is_reported_with_the_cidr_to_append(exhausted: Site) -> None:
    node = wait_until(
        lambda: _node_without_block(exhausted),
        timeout=60,
        what="one node has no block",
        needs=[exhausted.operator],
    )
    status, ready, nodes_ready = exhausted.status(), exhausted.condition("Ready"), exhausted.condition("NodesReady")
    fix = f"append a CIDR to spec.ipam.podCIDRs, such as {APPENDED}"

    assert status["ipam"] == {
        "applied": {"podCIDRs": [POOL], "maskSize": 25},
        "nodeBlocks": {"total": 2, "used": 2, "free": 0},
        "podsPerNode": 124,
        "exhausted": [POOL],
    }
    assert status["nodes"]["summary"] == "2/3"
    for condition in (ready, nodes_ready):
        assert condition is not None
        assert condition["status"] == "False"
        assert f"{node['name']} (NoPodCIDR: no pod CIDR: allocator full)" in condition["message"]
        assert fix in condition["message"]


def _blocks(site: Site) -> dict[str, str]:
    """The block of each node that has one."""
    found = {
        node["metadata"]["name"]: node["spec"]["ipam"].get("podCIDRs") for node in site.cluster.objects(CILIUM_NODES)
    }
    return {name: cidrs[0] for name, cidrs in found.items() if cidrs}


def test_the_block_of_a_node_that_is_away_is_named_before_the_advice_to_append(exhausted: Site) -> None:
    name, block = next(iter(sorted(_blocks(exhausted).items())))
    exhausted.cluster.disconnect(name)
    finding = wait_until(
        lambda: next((found for found in exhausted.status()["findings"] if "is held by" in found), None),
        timeout=60,
        what="the block of the node that is away is named",
        needs=[exhausted.operator],
    )
    exhausted.cluster.reconnect(name)

    assert re.match(
        rf"0 of 2 node blocks are free \(1 can be recovered\) and \S+ has no node block; {re.escape(block)} is held by "
        rf"{name}, not seen since \d\d:\d\dZ; delete the node if it is gone; or append a CIDR to ",
        finding,
    )
    wait_until(lambda: _node_without_block(exhausted), timeout=60, what="the node has returned")


def test_appending_the_cidr_repairs_the_node(exhausted: Site) -> None:
    agents = exhausted.agents()
    exhausted.apply(ipam={"podCIDRs": [POOL, APPENDED], "maskSize": 25})
    ready = exhausted.wait_for("InSync", ready="True")
    status = exhausted.status()

    assert exhausted.agents() == agents
    assert status["nodes"]["summary"] == "3/3"
    assert status["ipam"]["nodeBlocks"] == {"total": 4, "used": 3, "free": 1}
    assert status["ipam"]["exhausted"] == [POOL]
    assert status["ipam"]["applied"]["podCIDRs"] == [POOL, APPENDED]
    assert status["findings"] == []
    assert "append" not in ready["message"]


def test_8_an_appended_cidr_that_is_refused_can_be_removed_and_an_applied_one_cannot(exhausted: Site) -> None:
    addresses = exhausted.cluster.objects("nodes")[0]["status"]["addresses"]
    address = next(entry["address"] for entry in addresses if entry["type"] == "InternalIP")
    overlapping, revisions = f"{address.rpartition('.')[0]}.0/24", exhausted.revisions()
    exhausted.apply(ipam={"podCIDRs": [POOL, APPENDED, overlapping], "maskSize": 25})
    refused = exhausted.wait_for("PodCIDROverlap", ready="False")
    applied = exhausted.status()["ipam"]["applied"]
    exhausted.apply(ipam={"podCIDRs": [POOL, APPENDED], "maskSize": 25})
    exhausted.wait_for("InSync", ready="True")

    assert f"{overlapping} contains addresses in use" in refused["message"]
    assert applied == {"podCIDRs": [POOL, APPENDED], "maskSize": 25}
    assert exhausted.revisions() == revisions
    with pytest.raises(CommandError, match="append-only"):
        exhausted.apply(ipam={"podCIDRs": [POOL], "maskSize": 25})
