"""A release of the whole chart has no drift, in any version, after an upgrade and after a rollback."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from builders import a_spec
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.helm_secret import manifests, secret_name
from cilium_hybrid.plan.observation import Difference
from cilium_hybrid.plan.values import helm_values
from contract.kube import with_watches
from testbed.cluster import Cluster

REAL_CHARTS = sorted(Path(os.environ.get("CILIUM_CHARTS", "nowhere")).glob("cilium-*.tgz"))
MANY = {
    "envoy": {"enabled": True},
    "hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}},
    "resources": {"requests": {"cpu": "0.1", "memory": "1024Mi"}},
    "prometheus": {"enabled": True},
    "operator": {"prometheus": {"enabled": True}, "podDisruptionBudget": {"enabled": True}},
}
SERVER_SIDE = ("-n", "kube-system", "--server-side=true", "--force-conflicts")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster.start(tmp_path, hybrid=0, cloud=0, cilium=False) as cluster:
        yield cluster


def _differences(cluster: Cluster, revision: int) -> Sequence[Difference]:
    secret = cluster.get("secret", secret_name(revision), "kube-system")
    released = manifests(secret)
    assert len(released) > 10

    async def use(_: KubeClient, watched: KubeCluster) -> Sequence[Difference]:
        return await watched.differences(released)

    return with_watches(cluster.kubeconfig, use)


def _assert_no_drift(cluster: Cluster, archives: Sequence[Path]) -> None:
    for number, archive in enumerate(archives, start=1):
        spec = a_spec(version=archive.stem.removeprefix("cilium-"), values=MANY)
        values = json.dumps(helm_values(spec))
        cluster.helm("upgrade", "--install", "cilium", archive, *SERVER_SIDE, "--values", "-", stdin=values)

        assert _differences(cluster, number) == (), archive.name
    cluster.helm("rollback", "cilium", "1", *SERVER_SIDE)

    assert _differences(cluster, len(archives) + 1) == ()


def test_the_test_chart_has_no_drift(cluster: Cluster, charts: dict[str, Path]) -> None:
    _assert_no_drift(cluster, sorted(charts.values()))


@pytest.mark.skipif(not REAL_CHARTS, reason="CILIUM_CHARTS names no folder with charts of Cilium")
def test_ciliums_charts_have_no_drift(cluster: Cluster) -> None:
    _assert_no_drift(cluster, REAL_CHARTS)
