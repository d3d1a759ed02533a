"""Two replicas of the operator, of which one leads; the leader is killed, frozen, cut off or stopped gracefully."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.site import Site
from testbed.operator import operator
from testbed.processes import Process, wait_until

LEASE = "/apis/coordination.k8s.io/v1/namespaces/cilium-hybrid-system/leases/cilium-hybrid-operator"
TAKEOVER_LIMIT = 25.0


def _holder(site: Site) -> str:
    found = site.cluster._api.get(LEASE)  # noqa: SLF001 # this client returns None if there is no Lease
    return "" if found is None else str(found["spec"].get("holderIdentity", ""))


@pytest.fixture
def pair(bare_site: Site) -> Iterator[tuple[Process, Process]]:
    """Two replicas; the first leads."""
    env = {key: bare_site.operator.env[key] for key in ("SSL_CERT_FILE", "CILIUM_HYBRID_LOG_FORMAT")}
    first, second = (operator(bare_site.cluster, name=name, env=env) for name in ("first", "second"))
    bare_site.operator = second
    first.start()
    wait_until(lambda: _holder(bare_site) == "first", timeout=20, what="the first leads", needs=[first])
    second.start()
    wait_until(lambda: "standing by" in second.tail(), timeout=20, what="the second is on standby", needs=[second])
    yield first, second
    for process in (first, second):
        process.resume()
        process.stop()
    bare_site.clean()
    for log in (first.log, second.log):
        Path(log).unlink()


def test_a_standby_finishes_an_install_when_the_leader_is_killed(
    bare_site: Site, pair: tuple[Process, Process]
) -> None:
    first, _ = pair
    bare_site.apply()
    wait_until(bare_site.revisions, timeout=20, what="Helm has started", needs=[first])
    first.kill()
    # The Lease expires, and then the Helm of the first gets time to finish before its revision is unlocked.
    bare_site.wait_for("InSync", ready="True", timeout=90)

    assert _holder(bare_site) == "second"
    assert len(bare_site.revisions()) <= 2
    assert bare_site.revisions()[-1][1] == "deployed"


def test_a_graceful_stop_hands_over_immediately(bare_site: Site, pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.stop()

    # Within less than the duration of the Lease, because it was released.
    wait_until(lambda: _holder(bare_site) == "second", timeout=8, what="the second leads", needs=[second])


def test_the_same_pod_reacquires_its_lease_immediately(bare_site: Site, pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.kill()
    first.start()
    bare_site.apply()
    bare_site.wait_for("InSync", ready="True")

    assert _holder(bare_site) == "first"
    assert "acquired the Lease" not in second.tail()


def test_a_frozen_leader_exits_before_it_acts_again(bare_site: Site, pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.pause()
    what = "the second leads"
    wait_until(lambda: _holder(bare_site) == "second", timeout=TAKEOVER_LIMIT, what=what, needs=[second])
    bare_site.apply()
    bare_site.wait_for("InSync", ready="True")
    first.resume()
    wait_until(lambda: not first.alive, timeout=5, what="the resumed leader exits")

    # It was frozen between two renewals, or during one.
    assert re.search(r"exiting: .*\bthe Lease", first.tail())
    assert _holder(bare_site) == "second"
    assert bare_site.revisions() == [(1, "deployed")]


def test_a_leader_without_an_api_server_stops_in_time_and_recovers(
    bare_site: Site, pair: tuple[Process, Process]
) -> None:
    first, second = pair
    bare_site.cluster.pause_api_server()
    wait_until(lambda: not first.alive, timeout=14, what="the leader exits before its Lease expires")
    bare_site.cluster.resume_api_server()
    bare_site.apply()
    bare_site.wait_for("InSync", ready="True")

    assert _holder(bare_site) == "second"
    assert second.alive
