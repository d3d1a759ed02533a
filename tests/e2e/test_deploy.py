"""deploy/ and its overlays on a real API server and scheduler, before any hybrid node has a network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.cluster import Cluster
from testbed.operator import NAMESPACE, ROOT
from testbed.processes import wait_until

OPERATOR = "app.kubernetes.io/name=cilium-hybrid-operator"
HYBRID = "mi-"
OVERLAYS = sorted((ROOT / "deploy" / "overlays").iterdir())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=2, cloud=2) as started:
        yield started


def _running(cluster: Cluster) -> list[dict[str, Any]]:
    pods = cluster.objects("pods", NAMESPACE, selector=OPERATOR)
    running = [
        pod for pod in pods if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return running if len(running) == len(pods) == 2 else []


def _nodes(cluster: Cluster, overlay: Path) -> set[str]:
    cluster.kubectl("apply", "-k", overlay)
    pods = wait_until(lambda: _running(cluster), timeout=40, what=f"two replicas of {overlay.name} run")
    nodes = {str(pod["spec"]["nodeName"]) for pod in pods}
    cluster.kubectl("delete", "-k", overlay, "--timeout=60s")
    return nodes


def test_the_replicas_run_apart_and_prefer_cloud_nodes(cluster: Cluster) -> None:
    nodes = _nodes(cluster, ROOT / "deploy")

    assert len(nodes) == 2
    assert not [node for node in nodes if node.startswith(HYBRID)]


def test_on_hybrid_nodes_they_start_where_there_is_no_network_yet(cluster: Cluster) -> None:
    nodes = _nodes(cluster, ROOT / "deploy" / "overlays" / "hybrid-nodes")

    assert len(nodes) == 2
    assert all(node.startswith(HYBRID) for node in nodes)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_every_overlay_is_accepted(cluster: Cluster, overlay: Path) -> None:
    cluster.kubectl("create", "namespace", NAMESPACE)
    answer = cluster.kubectl("apply", "-k", overlay, "--dry-run=server")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")

    assert "deployment.apps/cilium-hybrid-operator created (server dry run)" in answer


def test_the_rights_to_the_resource_are_given_to_nobody_else(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-k", ROOT / "deploy")
    for role in ("edit", "admin"):
        rules = cluster.get("clusterrole", role)["rules"]

        assert not [rule for rule in rules if "ciliumhybrid.io" in rule.get("apiGroups", [])]
