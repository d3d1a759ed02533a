"""Two operators, one of which acts: killed, frozen and woken, cut off, and ended in an orderly way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.site import Site
from testbed.operator import operator
from testbed.processes import Process, wait_until

LEASE = "/apis/coordination.k8s.io/v1/namespaces/cilium-hybrid-system/leases/cilium-hybrid-operator"
TAKEOVER_LIMIT = 25.0


def _holder(site: Site) -> str:
    found = site.cluster._api.get(LEASE)  # noqa: SLF001 # the client that returns None where there is none
    return "" if found is None else str(found["spec"].get("holderIdentity", ""))


@pytest.fixture
def pair(bare_site: Site) -> Iterator[tuple[Process, Process]]:
    """Two operators; the first one leads."""
    env = {key: bare_site.operator.env[key] for key in ("SSL_CERT_FILE", "CILIUM_HYBRID_LOG_FORMAT")}
    first, second = (operator(bare_site.cluster, name=name, env=env) for name in ("first", "second"))
    bare_site.operator = second
    first.start()
    wait_until(lambda: _holder(bare_site) == "first", timeout=20, what="the first one leads", needs=[first])
    second.start()
    wait_until(lambda: "standing by" in second.tail(), timeout=20, what="the second one stands by", needs=[second])
    yield first, second
    for one in (first, second):
        one.resume()
        one.stop()
    bare_site.clean()
    for log in (first.log, second.log):
        Path(log).unlink()


def test_killed_in_mid_install_the_other_finishes(bare_site: Site, pair: tuple[Process, Process]) -> None:
    first, _ = pair
    bare_site.apply()
    wait_until(bare_site.revisions, timeout=20, what="Helm has begun", needs=[first])
    first.kill()
    bare_site.wait_for("InSync", ready="True")

    assert _holder(bare_site) == "second"
    assert len(bare_site.revisions()) <= 2
    assert bare_site.revisions()[-1][1] == "deployed"


def test_ended_in_an_orderly_way_it_hands_over_at_once(bare_site: Site, pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.stop()

    # Less than the Lease lasts: it was given back.
    wait_until(lambda: _holder(bare_site) == "second", timeout=8, what="the second one leads", needs=[second])


def test_the_same_pod_takes_its_lease_again_at_once(bare_site: Site, pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.kill()
    first.start()
    bare_site.apply()
    bare_site.wait_for("InSync", ready="True")

    assert _holder(bare_site) == "first"
    assert "leading" not in second.tail()


def test_frozen_and_woken_it_ends_before_it_acts(bare_site: Site, pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.pause()
    what = "the second one leads"
    wait_until(lambda: _holder(bare_site) == "second", timeout=TAKEOVER_LIMIT, what=what, needs=[second])
    bare_site.apply()
    bare_site.wait_for("InSync", ready="True")
    first.resume()
    wait_until(lambda: not first.alive, timeout=5, what="the woken one ends")

    assert "stopping: the Lease" in first.tail()
    assert _holder(bare_site) == "second"
    assert bare_site.revisions() == [(1, "deployed")]


def test_with_the_api_server_away_it_stops_in_time_and_comes_back(
    bare_site: Site, pair: tuple[Process, Process]
) -> None:
    first, second = pair
    bare_site.cluster.pause_api_server()
    wait_until(lambda: not first.alive, timeout=14, what="the holder ends before its Lease does")
    bare_site.cluster.resume_api_server()
    bare_site.apply()
    bare_site.wait_for("InSync", ready="True")

    assert _holder(bare_site) == "second"
    assert second.alive
