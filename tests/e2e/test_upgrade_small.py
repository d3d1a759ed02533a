"""An upgrade where hybrid nodes are few, and cloud nodes are more."""

from pathlib import Path
from typing import Any

import pytest

from e2e.site import a_site
from testbed.registry import Registry


@pytest.mark.parametrize(
    ("hybrid", "values"),
    [
        # Two replicas of Cilium's operator may not share a node: the chart changes places with a single one alone.
        pytest.param(1, {"operator": {"replicas": 1}}, id="one hybrid node"),
        pytest.param(2, {}, id="two hybrid nodes"),
    ],
)
def test_few_hybrid_nodes_beside_four_of_the_cloud(
    tmp_path: Path, registry: Registry, hybrid: int, values: dict[str, Any]
) -> None:
    with a_site(tmp_path, registry, hybrid=hybrid, cloud=4) as site:
        site.operator.start()
        site.apply()
        site.wait_for("InSync", ready="True")
        site.apply(version="1.18.8-1", values=values)
        site.wait_for("InSync", ready="True", timeout=60)
        preflight, running, ready = site.status()["preflight"], site.running(), site.cluster.ready_nodes()
        site.operator.stop()

    assert list(running.values()) == ["1.18.8-1"] * hybrid
    assert (preflight["ready"], preflight["expected"]) == (hybrid, hybrid)
    assert ready == hybrid + 4


def test_what_stands_still_on_a_single_node_gets_on_with_a_single_operator(tmp_path: Path, registry: Registry) -> None:
    rollout = {"rollout": {"soak": "1s", "progressDeadline": "5s"}}
    with a_site(tmp_path, registry, hybrid=1) as site:
        site.operator.start()
        site.apply()
        site.wait_for("InSync", ready="True")
        site.apply(version="1.18.8-1", upgrade=rollout)
        stuck = site.wait_for("RolloutStuck", ready="False")
        site.apply(version="1.18.8-1", upgrade=rollout, values={"operator": {"replicas": 1}})
        site.wait_for("InSync", ready="True", timeout=90)
        running = site.running()
        site.operator.stop()

    assert "Cilium's operator comes first, and is not ready yet" in stuck["message"]
    assert set(running.values()) == {"1.18.8-1"}
