"""An upgrade where hybrid nodes are few, and cloud nodes are more."""

from pathlib import Path

from e2e.site import a_site
from testbed.registry import Registry


def test_two_hybrid_nodes_beside_four_of_the_cloud(tmp_path: Path, registry: Registry) -> None:
    hybrid = 2
    with a_site(tmp_path, registry, hybrid=hybrid, cloud=4) as site:
        site.operator.start()
        site.apply()
        site.wait_for("InSync", ready="True")
        site.apply(version="1.18.8-1")
        site.wait_for("InSync", ready="True", timeout=120)
        preflight, running, ready = site.status()["preflight"], site.running(), site.cluster.ready_nodes()
        site.operator.stop()

    assert list(running.values()) == ["1.18.8-1"] * hybrid
    assert (preflight["ready"], preflight["expected"]) == (hybrid, hybrid)
    assert ready == hybrid + 4
