"""Upgrades with few hybrid nodes and more cloud nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.site import NODES, Site, start_site
from testbed.processes import wait_until
from testbed.registry import Registry

FAST = {"rollout": {"soak": "1s", "progressDeadline": "5s"}}


@pytest.fixture(params=[1, 2], ids=["one hybrid node", "two hybrid nodes"])
def small(request: pytest.FixtureRequest, tmp_path: Path, registry: Registry) -> Iterator[Site]:
    with start_site(tmp_path, registry, hybrid=request.param, cloud=4) as site:
        site.operator.start()
        site.apply()
        site.wait_for("InSync", ready="True")
        site.wait_until_verified()
        yield site
        site.operator.stop()


def _operator_versions(site: Site) -> set[str]:
    """Return the versions of the scheduled Cilium operator pods."""
    pods = site.cluster.objects("pods", "kube-system", selector="io.cilium/app=operator")
    return {pod["spec"]["containers"][0]["image"].rpartition(":v")[2] for pod in pods if "nodeName" in pod["spec"]}


def _one_operator_version(site: Site) -> bool:
    return len(_operator_versions(site)) == 1


def test_few_hybrid_nodes_are_upgraded_beside_four_cloud_nodes(small: Site) -> None:
    nodes = len(small.agents())
    small.apply(version="1.18.8-1")
    small.wait_for("InSync", ready="True", timeout=60)
    preflight = small.status()["preflight"]

    assert list(small.running().values()) == ["1.18.8-1"] * nodes
    assert (preflight["ready"], preflight["expected"]) == (nodes, nodes)
    assert small.cluster.ready_nodes() == nodes + 4
    assert _operator_versions(small) == {"1.18.8-1"}


def test_a_failure_on_few_nodes_is_rolled_back(small: Site) -> None:
    nodes = len(small.agents())
    small.apply(version="1.18.9-1", upgrade=FAST | {"via": [{"version": "1.17.15-1"}]})
    ready = small.wait_for("RolledBack", ready="False", timeout=90)
    wait_until(
        lambda: small.cluster.ready_nodes() == nodes + 4, timeout=30, what="every node is Ready", needs=[small.operator]
    )
    wait_until(
        lambda: _one_operator_version(small),
        timeout=30,
        what="one version of the Cilium operator",
        needs=[small.operator],
    )

    assert f"the new agent fails on {NODES[0]} (" in ready["message"]
    assert list(small.running().values()) == ["1.17.15-1"] * nodes
    assert _operator_versions(small) == {"1.17.15-1"}


@pytest.mark.parametrize("fault", ["cordoned", "disconnected"])
def test_a_second_node_that_accepts_no_pod_is_not_waited_for(tmp_path: Path, registry: Registry, fault: str) -> None:
    reason = "InSync" if fault == "cordoned" else "NodesDisconnected"
    with start_site(tmp_path, registry, hybrid=2) as site:
        site.operator.start()
        site.apply()
        site.wait_for("InSync", ready="True")
        if fault == "cordoned":
            site.cluster.kubectl("cordon", NODES[1])
        else:
            site.cluster.disconnect(NODES[1])
        site.wait_for(reason, ready="True")
        site.apply(version="1.18.8-1", upgrade=FAST)
        site.wait_for(reason, ready="True", timeout=60)
        running = site.running()
        site.operator.stop()

    assert running[NODES[0]] == "1.18.8-1"
    assert running[NODES[1]] == ("1.18.8-1" if fault == "cordoned" else "1.17.13-1")
