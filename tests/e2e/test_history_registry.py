"""A registry that accepts connections and stays silent delays only what needs a chart."""

import time
from collections.abc import Iterator

import pytest

from e2e.history import edit, install
from e2e.site import Site
from testbed.processes import wait_until

DEADLINE = 60
MARGIN = 20
SOON = 15


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.restore()


def test_a_silent_registry_is_reported_within_the_deadline_and_delays_nothing_else(site: Site) -> None:
    install(site)
    _silence_registry(site)
    # Without a preflight check, the chart is first needed to apply it.
    edit(site, version="1.17.15-1", upgrade={"preflight": {"enabled": False}})
    started = time.monotonic()
    wait_until(lambda: _pulled(site), timeout=30, what="the chart is requested", needs=[site.operator])
    site.cluster.disconnect("mi-0000000000000005")
    what = "the status shows the disconnected node"
    wait_until(lambda: site.status()["nodes"]["disconnected"] == 1, timeout=SOON, what=what, needs=[site.operator])
    site.cluster.reconnect("mi-0000000000000005")
    what = "the status shows that the node is back"
    wait_until(lambda: site.status()["nodes"]["disconnected"] == 0, timeout=SOON, what=what, needs=[site.operator])
    ready = site.wait_for("ChartUnavailable", ready="False", timeout=DEADLINE + MARGIN)
    took = time.monotonic() - started
    site.registry.serve()
    site.wait_for("InSync", ready="True", timeout=90)

    assert f"no complete answer within {DEADLINE} s" in ready["message"]
    assert took < DEADLINE + MARGIN
    assert set(site.running().values()) == {"1.17.15-1"}


def test_an_edit_and_a_deletion_do_not_wait_for_a_silent_registry(site: Site) -> None:
    install(site, deletionPolicy="Uninstall")
    _silence_registry(site)
    edit(site, version="1.18.3-0", deletionPolicy="Uninstall", upgrade={"via": [], "preflight": {"enabled": False}})
    wait_until(lambda: _pulled(site), timeout=30, what="the registry is asked", needs=[site.operator])
    edit(site, suspend=True, deletionPolicy="Uninstall")
    site.wait_for("Suspended", timeout=SOON)
    edit(site, {"debug": {"enabled": True}}, deletionPolicy="Uninstall")
    site.wait_for("InSync", ready="True")
    revisions = site.revisions()
    site.registry.forget_requests()
    edit(site, version="1.18.3-0", deletionPolicy="Uninstall", upgrade={"via": [], "preflight": {"enabled": False}})
    wait_until(lambda: _pulled(site), timeout=30, what="the registry is asked again", needs=[site.operator])
    started = time.monotonic()
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")

    assert revisions[-1] == (2, "deployed")
    assert time.monotonic() - started < SOON + MARGIN
    assert site.revisions() == []


def _silence_registry(site: Site) -> None:
    site.registry.hang()
    site.registry.forget_requests()


def _pulled(site: Site) -> bool:
    """Whether the registry was asked for anything since it is silent."""
    return bool(site.registry.requests)
