"""A failure is final until a person asks: each value of the annotation tries again once."""

from collections.abc import Iterator

import pytest

from e2e.history import broken, deleted_agents, edit, install, wait_for_deletions
from e2e.site import NODES, Site
from testbed.processes import wait_until


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.restore()


def test_a_rejected_release_is_tried_again_once_for_each_value_of_the_annotation(site: Site) -> None:
    before = install(site)
    edit(site, broken())
    site.wait_for("RolledBack", ready="False")
    deleted = deleted_agents(site)
    site.reconcile("one")
    # The canary is restarted with the release, and with the one before.
    wait_for_deletions(site, deleted + 2)
    site.wait_for("RolledBack", ready="False")
    # Neither a new process, nor another generation, nor the same value tries it again.
    site.operator.stop()
    site.operator.start()
    site.reconcile("one")
    edit(site, broken(), rollout={"canary": 2})
    site.wait_for("RolledBack", ready="False")

    assert deleted_agents(site) == deleted + 2
    assert site.restarted(before) == {NODES[0]}
    assert site.revisions()[-1] == (5, "deployed")


def test_a_release_that_failed_for_a_reason_that_is_gone_is_rolled_out_on_request(site: Site) -> None:
    before = install(site)
    site.cluster.break_agent(NODES[0], "crash")
    wait_until(lambda: site.status()["nodes"]["agentsReady"] == 4, timeout=30, what="an agent crashes")
    site.cluster.repair_agent(NODES[0])
    site.wait_for("InSync", ready="True")
    edit(site, {"debug": {"enabled": True}}, rollout={"soak": "1h"})
    site.wait_until_updated(1)
    site.cluster.break_agent(NODES[0], "crash")
    site.wait_for("RollingBack", ready="False")
    site.cluster.repair_agent(NODES[0])
    site.wait_for("RolledBack", ready="False")
    edit(site, {"debug": {"enabled": True}})
    site.wait_for("RolledBack", ready="False")
    site.reconcile("the node is repaired")
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.restarted(before) == set(NODES)
