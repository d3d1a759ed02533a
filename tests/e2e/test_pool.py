"""A pool of two blocks and three nodes: who has none is named with what to append, and appending it is all it takes."""

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.site import Site, a_site
from testbed.processes import wait_until
from testbed.registry import Registry

SMALL = "10.85.0.0/24"
NEXT = "10.85.1.0/24"


@pytest.fixture(scope="module")
def exhausted(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Site]:
    with a_site(tmp_path_factory.mktemp("cluster"), registry, hybrid=3) as site:
        site.operator.start()
        site.apply(ipam={"podCIDRs": [SMALL], "maskSize": 25})
        yield site
        site.operator.stop()


def _starved(site: Site) -> dict[str, Any] | None:
    unready = site.status().get("nodes", {}).get("unready", [])
    starved = [node for node in unready if node["reason"] == "NoPodCIDR" and "allocator full" in node["message"]]
    return starved[0] if len(unready) == len(starved) == 1 else None


def test_the_third_node_is_named_with_the_line_to_append(exhausted: Site) -> None:
    starved = wait_until(
        lambda: _starved(exhausted), timeout=60, what="one node has no block", needs=[exhausted.operator]
    )
    status, ready, nodes = exhausted.status(), exhausted.condition("Ready"), exhausted.condition("NodesReady")
    line = f"append a CIDR to spec.ipam.podCIDRs, such as {NEXT}"

    assert status["ipam"] == {
        "nodeBlocks": {"total": 2, "used": 2, "free": 0},
        "podsPerNode": 124,
        "exhausted": [SMALL],
    }
    assert status["nodes"]["summary"] == "2/3"
    for condition in (ready, nodes):
        assert condition is not None
        assert condition["status"] == "False"
        assert f"{starved['name']} (NoPodCIDR: no block of pod addresses: allocator full)" in condition["message"]
        assert line in condition["message"]


def test_appending_it_heals_without_a_hand_on_anything(exhausted: Site) -> None:
    agents = exhausted.agents()
    exhausted.apply(ipam={"podCIDRs": [SMALL, NEXT], "maskSize": 25})
    ready = exhausted.wait_for("InSync", ready="True")
    status = exhausted.status()

    assert exhausted.agents() == agents
    assert status["nodes"]["summary"] == "3/3"
    assert status["ipam"]["nodeBlocks"] == {"total": 4, "used": 3, "free": 1}
    assert status["ipam"]["exhausted"] == [SMALL]
    assert status["findings"] == []
    assert "append" not in ready["message"]
