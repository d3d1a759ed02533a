"""Sites of real nodes: the agent, the operator and the CNI plugin are Cilium's own."""

import os
from collections.abc import Iterator

import pytest

from real.site import RealSite, start_real_site
from testbed.site import programs


@pytest.fixture(scope="session", autouse=True)
def real_nodes_can_run() -> None:
    """Report these tests as not run without root, BTF or a compiler; where they have to run, they fail."""
    if (problem := programs.missing()) is None:
        return
    if os.environ.get("REAL_NODES") == "required":
        pytest.fail(problem, pytrace=False)
    pytest.skip(problem)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RealSite]:
    """A site for the minor versions in `MINORS` of the test module, beside as many simulated nodes as `SIMULATED`."""
    simulated = getattr(request.module, "SIMULATED", 0)
    with start_real_site(tmp_path_factory.mktemp("real"), request.module.MINORS, hybrid=simulated) as started:
        yield started
