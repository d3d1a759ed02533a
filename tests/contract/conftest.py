from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from testbed.operator import wait_for_crd

CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture(scope="module")
def testbed_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the CRD, without nodes and Cilium; shared by the tests of a module."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=0, cloud=0, cilium=False) as cluster:
        cluster.kubectl("apply", "-f", CRDS)
        wait_for_crd(cluster)
        yield cluster
