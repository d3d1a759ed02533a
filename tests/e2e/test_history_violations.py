"""A violation, or suspend, that begins and ends during a rollout stops new restarts, and never the judgement."""

from collections.abc import Iterator

import pytest

from e2e.history import edit, foreign_pod, install, reasons, wait_for_restarts
from e2e.site import NODES, VERSION, Site
from testbed.processes import wait_until

DEBUG = {"debug": {"enabled": True}}


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    _remove_other_cni(site)
    site.restore()


def _add_other_cni(site: Site) -> None:
    site.cluster.apply(foreign_pod(NODES[3]))
    site.wait_for("ForeignCNI", ready="False")


def _remove_other_cni(site: Site) -> None:
    site.cluster.kubectl("delete", "pod", "-n", "default", "calico-node-x", "--now", "--ignore-not-found")


def _with_soaking_canary(site: Site) -> dict[str, str]:
    before = install(site)
    edit(site, DEBUG, rollout={"soak": "1h"})
    site.wait_until_updated(1)
    return before


def test_a_violation_stops_new_restarts_and_the_rollout_continues_when_it_clears(site: Site) -> None:
    before = _with_soaking_canary(site)
    _add_other_cni(site)
    edit(site, DEBUG)
    ready = site.wait_for("ForeignCNI", ready="False")
    meanwhile, rollout = site.restarted(before), site.status().get("rollout")
    _remove_other_cni(site)
    site.wait_for("InSync", ready="True", timeout=90)

    assert "default/calico-node-x" in ready["message"]
    assert meanwhile == {NODES[0]}
    assert rollout is not None
    assert site.restarted(before) == set(NODES)
    assert "RollingBack" not in reasons(site)


def test_a_canary_that_fails_during_a_violation_is_rolled_back(site: Site) -> None:
    before = _with_soaking_canary(site)
    _add_other_cni(site)
    site.cluster.break_agent(NODES[0], "crash")
    what = "the last verified revision is restored"
    wait_until(lambda: site.revisions()[-1] == (3, "deployed"), timeout=60, what=what, needs=[site.operator])
    site.cluster.repair_agent(NODES[0])
    _remove_other_cni(site)
    ready = site.wait_for("RolledBack", ready="False")

    assert f"the new agent fails on {NODES[0]} (" in ready["message"]
    assert site.restarted(before) == {NODES[0]}
    assert set(site.running().values()) == {VERSION}


def test_a_canary_that_fails_while_suspended_is_rolled_back_afterwards(site: Site) -> None:
    before = _with_soaking_canary(site)
    edit(site, DEBUG, rollout={"soak": "1h"}, suspend=True)
    site.wait_for("Suspended")
    site.cluster.break_agent(NODES[0], "crash")
    wait_for_restarts(site, NODES[0], 2)
    meanwhile = site.revisions()
    edit(site, DEBUG, rollout={"soak": "1h"})
    site.wait_for("RollingBack", ready="False")
    site.cluster.repair_agent(NODES[0])
    site.wait_for("RolledBack", ready="False")

    assert meanwhile == [(1, "superseded"), (2, "deployed")]
    assert site.restarted(before) == {NODES[0]}
