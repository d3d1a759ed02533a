"""A watch that the API server refuses while single reads work: nothing is changed, and everybody can see why."""

import urllib.error
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from e2e.site import LIMIT, Site
from testbed.interposer import Interposer
from testbed.operator import operator
from testbed.processes import wait_until

LOST = "watch of daemonsets/cilium is lost: /daemonsets is refused"


@pytest.fixture(scope="module")
def interposed(bare_site: Site) -> Iterator[tuple[Site, Interposer]]:
    """A site whose operator connects to the API server through the interposer."""
    kubeconfig = Path(bare_site.operator.env["KUBECONFIG"])
    with Interposer(kubeconfig, bare_site.cluster.folder) as interposer:
        env = {**bare_site.operator.env, "KUBECONFIG": str(interposer.kubeconfig)}
        bare_site.operator = operator(bare_site.cluster, env=env).start()
        yield bare_site, interposer
        bare_site.operator.stop()


def _readyz(site: Site) -> tuple[int, str]:
    try:
        return site.http_get("/readyz")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_nothing_is_applied_or_restarted_while_a_watch_is_refused(interposed: tuple[Site, Interposer]) -> None:
    site, interposer = interposed
    site.apply()
    site.wait_for("InSync", ready="True")
    agents = site.agents()

    interposer.refuse_watches = {"/daemonsets": 403}
    interposer.cut_watches()
    wait_until(lambda: LOST in _readyz(site)[1], timeout=LIMIT, what="the lost watch is reported")
    site.apply(values={"debug": {"enabled": True}})
    ready = site.wait_for("APIUnavailable")

    assert LOST in ready["message"]
    assert _readyz(site)[0] == HTTPStatus.SERVICE_UNAVAILABLE
    assert 'cilium_hybrid_watch_lost{watch="daemonsets/cilium"} 1.0' in site.http_get("/metrics")[1]
    assert site.revisions() == [(1, "deployed")]
    assert site.agents() == agents

    interposer.refuse_watches = {}
    site.wait_for("InSync", ready="True")
    assert site.revisions() == [(1, "superseded"), (2, "deployed")]
    assert _readyz(site) == (200, "ok")


def test_a_refused_watch_of_the_resource_itself_delays_a_change_and_blocks_nothing(
    interposed: tuple[Site, Interposer],
) -> None:
    site, interposer = interposed
    site.apply()
    site.wait_for("InSync", ready="True")

    interposer.refuse_watches = {"/ciliumhybrids": 403}
    interposer.cut_watches()
    lost = "watch of ciliumhybrids is lost: /ciliumhybrids is refused"
    wait_until(lambda: lost in _readyz(site)[1], timeout=LIMIT, what="the lost watch is reported")
    assert _readyz(site)[0] == HTTPStatus.OK
    site.apply(values={"debug": {"enabled": False}, "prometheus": {"enabled": True}})
    # kopf gives up after a minute of attempts, and is started again.
    site.wait_for("InSync", ready="True", timeout=150)

    interposer.refuse_watches = {}
    wait_until(lambda: _readyz(site) == (200, "ok"), timeout=LIMIT, what="the watch is re-established")
