"""What happens around a rollout: a site that blinks, reboots, nodes that join or return, and three bad edits."""

import uuid
from collections.abc import Iterator, Sequence

import pytest

from e2e.history import (
    broken,
    deleted_agents,
    edit,
    findings,
    install,
    reasons,
    restarts_on,
    wait_for_deletions,
    wait_for_restarts,
)
from e2e.site import NODES, Site
from testbed.processes import wait_until

DEBUG = {"debug": {"enabled": True}}
CRASH_LOOP = 3


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    for node in site.cluster.objects("nodes"):
        name = node["metadata"]["name"]
        if name.startswith("mi-joins"):
            site.cluster.remove_node(name)
    site.restore()


def _ready(site: Site) -> int:
    ready: int = site.status()["nodes"]["agentsReady"]
    return ready


def _wait_until_ready(site: Site, count: int) -> None:
    what = f"{count} agents are Ready"
    wait_until(lambda: _ready(site) == count, timeout=60, what=what, needs=[site.operator])


def _blink(site: Site, nodes: Sequence[str] = NODES) -> None:
    """Let the agents of these nodes lose readiness for a moment, as after an outage of the site."""
    for node in nodes:
        site.cluster.break_agent(node, "never-ready")
    _wait_until_ready(site, 0)
    for node in nodes:
        site.cluster.repair_agent(node)


def test_agents_that_all_lose_readiness_do_not_let_a_crash_looping_release_pass_the_canary(site: Site) -> None:
    before = install(site)
    deleted = deleted_agents(site)
    edit(site, broken())
    wait_for_deletions(site, deleted + 1)
    _blink(site)
    ready = site.wait_for("RolledBack", ready="False")

    assert f"the new agent fails on {NODES[0]} (" in ready["message"]
    assert site.restarted(before) == {NODES[0]}
    _wait_until_ready(site, len(NODES))


def test_agents_that_all_lose_readiness_do_not_end_the_wait_for_a_canary(site: Site) -> None:
    before = install(site)
    deleted = deleted_agents(site)
    edit(site, DEBUG, rollout={"soak": "15s", "progressDeadline": "20s"})
    wait_for_deletions(site, deleted + 1)
    site.cluster.break_agent(NODES[0], "never-ready")
    for _ in range(2):
        _blink(site, NODES[1:])
        _wait_until_ready(site, len(NODES) - 1)
    ready = site.wait_for("RollingBack", ready="False")
    site.cluster.repair_agent(NODES[0])

    assert NODES[0] in ready["message"]
    site.wait_for("RolledBack", ready="False")
    assert site.restarted(before) == {NODES[0]}


def test_reboots_during_a_rollout_are_no_evidence(site: Site) -> None:
    before = install(site)
    edit(site, DEBUG, rollout={"soak": "1h"})
    site.wait_until_updated(1)
    for _ in range(3):
        restarts = restarts_on(site, NODES[0])
        site.cluster.reboot(NODES[0])
        wait_for_restarts(site, NODES[0], restarts + 1)
    edit(site, DEBUG)
    site.wait_for("InSync", ready="True")

    assert site.restarted(before) == set(NODES)
    assert "RollingBack" not in reasons(site)
    assert site.revisions() == [(1, "superseded"), (2, "deployed")]


def test_a_node_that_joins_and_crashes_during_a_rollout_is_reported_and_rolls_nothing_back(site: Site) -> None:
    before = install(site)
    edit(site, DEBUG, rollout={"soak": "1h"})
    site.wait_until_updated(1)
    joined = f"mi-joins-{uuid.uuid4().hex[:6]}"
    site.cluster.add_node(joined)
    site.cluster.break_agent(joined, "crash")
    wait_for_restarts(site, joined, CRASH_LOOP)
    edit(site, DEBUG, rollout={"progressDeadline": "15s"})
    what = "the other nodes are updated"
    wait_until(lambda: site.restarted(before) >= set(NODES), timeout=60, what=what, needs=[site.operator])
    what = "the new node is reported"
    wait_until(lambda: joined in findings(site), timeout=60, what=what, needs=[site.operator])

    assert "RollingBack" not in reasons(site)
    assert site.revisions() == [(1, "superseded"), (2, "deployed")]


def test_a_node_that_returns_and_crashes_does_not_undo_a_verified_revision(site: Site) -> None:
    before = install(site)
    site.cluster.disconnect(NODES[4])
    edit(site, DEBUG)
    site.wait_for("NodesDisconnected", ready="True")
    site.wait_until_verified("2")
    site.cluster.break_agent(NODES[4], "crash")
    site.cluster.reconnect(NODES[4])
    what = "the outdated agent is replaced and crashes"

    def crashes() -> bool:
        return NODES[4] in site.restarted(before) and restarts_on(site, NODES[4]) >= CRASH_LOOP

    wait_until(crashes, timeout=60, what=what, needs=[site.operator])
    what = "the node is reported"
    unready = wait_until(lambda: site.status()["nodes"].get("unready"), timeout=30, what=what, needs=[site.operator])

    assert [node["name"] for node in unready] == [NODES[4]]
    assert "RollingBack" not in reasons(site)
    assert site.revisions() == [(1, "superseded"), (2, "deployed")]


def test_three_bad_edits_with_pause_cost_one_node(site: Site) -> None:
    before = install(site)
    touched = set[str]()
    for tag in ("v1", "v2", "v3"):
        deleted = deleted_agents(site)
        edit(site, broken(tag), rollout={"progressDeadline": "10s"}, upgrade={"onFailure": "Pause"})
        wait_for_deletions(site, deleted + 1)
        ready = site.wait_for("RolloutStalled", ready="False")
        touched |= site.restarted(before)
        assert f"{NODES[0]} (CrashLoopBackOff" in ready["message"]
    edit(site, DEBUG, upgrade={"onFailure": "Pause"})
    site.wait_for("InSync", ready="True", timeout=90)

    assert touched == {NODES[0]}
    assert [number for number, _ in site.revisions()] == [1, 2, 3, 4, 5]


def test_a_fix_written_while_the_canary_fails_is_tried_together_with_the_next_minor(site: Site) -> None:
    install(site, version="1.17.15-1")
    edit(site, broken(), version="1.17.15-1")
    site.wait_for("RollingBack", ready="False")
    edit(site, DEBUG, version="1.18.8-1", upgrade={"preflight": {"enabled": False}})
    site.wait_for("InSync", ready="True", timeout=120)

    assert set(site.running().values()) == {"1.18.8-1"}
    results = [(entry["action"], entry["to"]) for entry in site.status()["history"]]
    assert results[-1] == ("Upgrade", "1.18.8-1")
