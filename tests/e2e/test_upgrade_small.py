"""An upgrade where hybrid nodes are few, and cloud nodes are more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.site import NODES, Site, a_site
from testbed.processes import wait_until
from testbed.registry import Registry

FAST = {"rollout": {"soak": "1s", "progressDeadline": "5s"}}


@pytest.fixture(params=[1, 2], ids=["one hybrid node", "two hybrid nodes"])
def small(request: pytest.FixtureRequest, tmp_path: Path, registry: Registry) -> Iterator[Site]:
    with a_site(tmp_path, registry, hybrid=request.param, cloud=4) as site:
        site.operator.start()
        site.apply()
        site.wait_for("InSync", ready="True")
        wait_until(
            lambda: site.verified == "1", timeout=20, what="the install has proven itself", needs=[site.operator]
        )
        yield site
        site.operator.stop()


def _operators(site: Site) -> set[str]:
    """The images of Cilium's operator that runs, as its pods have them."""
    pods = site.cluster.objects("pods", "kube-system", selector="io.cilium/app=operator")
    return {pod["spec"]["containers"][0]["image"].rpartition(":v")[2] for pod in pods if "nodeName" in pod["spec"]}


def _settled(site: Site) -> bool:
    return len(_operators(site)) == 1


def test_few_hybrid_nodes_beside_four_of_the_cloud(small: Site) -> None:
    nodes = len(small.agents())
    small.apply(version="1.18.8-1")
    small.wait_for("InSync", ready="True", timeout=60)
    preflight = small.status()["preflight"]

    assert list(small.running().values()) == ["1.18.8-1"] * nodes
    assert (preflight["ready"], preflight["expected"]) == (nodes, nodes)
    assert small.cluster.ready_nodes() == nodes + 4
    assert _operators(small) == {"1.18.8-1"}


def test_what_fails_on_few_nodes_is_taken_back(small: Site) -> None:
    nodes = len(small.agents())
    small.apply(version="1.18.9-1", upgrade=FAST | {"via": [{"version": "1.17.15-1"}]})
    ready = small.wait_for("RolledBack", ready="False", timeout=90)
    wait_until(
        lambda: small.cluster.ready_nodes() == nodes + 4, timeout=30, what="all are Ready", needs=[small.operator]
    )
    wait_until(lambda: _settled(small), timeout=30, what="one version of Cilium's operator", needs=[small.operator])

    assert f"the new agent fails on {NODES[0]} (" in ready["message"]
    assert list(small.running().values()) == ["1.17.15-1"] * nodes
    assert _operators(small) == {"1.17.15-1"}


@pytest.mark.parametrize("gone", ["cordoned", "disconnected"])
def test_a_second_node_that_takes_no_pod_is_not_waited_for(tmp_path: Path, registry: Registry, gone: str) -> None:
    with a_site(tmp_path, registry, hybrid=2) as site:
        site.operator.start()
        site.apply()
        site.wait_for("InSync", ready="True")
        if gone == "cordoned":
            site.cluster.kubectl("cordon", NODES[1])
        else:
            site.cluster.disconnect(NODES[1])
        site.wait_for("InSync" if gone == "cordoned" else "NodesDisconnected", ready="True")
        site.apply(version="1.18.8-1", upgrade=FAST)
        site.wait_for("InSync" if gone == "cordoned" else "NodesDisconnected", ready="True", timeout=60)
        running = site.running()
        site.operator.stop()

    assert running[NODES[0]] == "1.18.8-1"
    assert running[NODES[1]] == ("1.18.8-1" if gone == "cordoned" else "1.17.13-1")
