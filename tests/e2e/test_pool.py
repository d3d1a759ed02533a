"""A pool of two blocks for three nodes: the status names the node without a block and the CIDR to append."""

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.site import Site, start_site
from testbed.processes import wait_until
from testbed.registry import Registry

POOL = "10.85.0.0/24"
APPENDED = "10.85.1.0/24"


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


def test_appending_the_cidr_repairs_the_node(exhausted: Site) -> None:
    agents = exhausted.agents()
    exhausted.apply(ipam={"podCIDRs": [POOL, APPENDED], "maskSize": 25})
    ready = exhausted.wait_for("InSync", ready="True")
    status = exhausted.status()

    assert exhausted.agents() == agents
    assert status["nodes"]["summary"] == "3/3"
    assert status["ipam"]["nodeBlocks"] == {"total": 4, "used": 3, "free": 1}
    assert status["ipam"]["exhausted"] == [POOL]
    assert status["findings"] == []
    assert "append" not in ready["message"]
