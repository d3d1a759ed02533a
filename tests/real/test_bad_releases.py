"""Releases that no rule can refuse and that the agent itself cannot run. The tests build on each other, in order."""

from typing import Any

import pytest

from real.site import NODES, Flow, RealSite
from testbed.processes import wait_until

MINORS = ("1.18",)
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def flows(site: RealSite) -> dict[str, Flow]:
    """Traffic within each node and across."""
    site.apply(version=site.version("1.18"))
    site.wait_for("InSync", ready="True", timeout=120)
    site.wait_until_verified()
    return {
        "across": site.start_flow("across", NODES[0], NODES[1]),
        **{node: site.start_flow(f"within-{node[-1]}", node, node) for node in NODES},
    }


def _release(site: RealSite, flows: dict[str, Flow], values: dict[str, Any], **rollout: str) -> tuple[set[str], str]:
    """Apply values that fail and wait for the rollback; return the nodes that were touched and the message."""
    touched: set[str] = set()
    before = site.agents()

    def rolled_back() -> dict[str, Any] | None:
        touched.update(site.restarted(before))
        found, generation = site.condition("Ready"), site.resource()["metadata"]["generation"]
        current = found is not None and found["observedGeneration"] == generation
        return found if found is not None and current and found["reason"] == "RolledBack" else None

    rules = {"rollout": {"soak": "1s", **rollout}}
    site.apply(version=site.version("1.18"), values=values, upgrade=rules)
    ready = wait_until(rolled_back, timeout=240, what="the release is rolled back", needs=[site.operator])
    for flow in flows.values():
        flow.settle()
    return touched, str(ready["message"])


def test_an_agent_that_exits_is_rolled_back_with_its_own_words(site: RealSite, flows: dict[str, Flow]) -> None:
    touched, message = _release(site, flows, {"extraArgs": ["--no-such-flag"]})

    assert len(touched) == 1, touched
    assert "unknown flag: --no-such-flag" in message
    for node in set(NODES) - touched:
        assert flows[node].report().lost == 0
    assert {flow.report().stream_broken for flow in flows.values()} == {""}


def test_an_agent_that_never_gets_ready_is_rolled_back(site: RealSite, flows: dict[str, Flow]) -> None:
    values = {"extraConfig": {"agent-health-port": "9870"}}
    before = {name: flow.report().lost for name, flow in flows.items()}
    touched, message = _release(site, flows, values, progressDeadline="45s")

    assert len(touched) == 1, touched
    assert "not Ready" in message
    assert {name: flow.report().lost for name, flow in flows.items()} == before
    assert {flow.report().stream_broken for flow in flows.values()} == {""}


def test_the_last_good_revision_runs_again(site: RealSite) -> None:
    assert site.status()["nodes"]["summary"] == "2/2"
    site.apply(version=site.version("1.18"))
    site.wait_for("InSync", ready="True", timeout=60)
