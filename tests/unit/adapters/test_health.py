import asyncio
import time

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from cilium_hybrid.adapters.health import RECONCILE_TIMEOUT_SECONDS, Health, serve
from cilium_hybrid.adapters.kube.watch_state import GRACE_SECONDS, WatchState
from cilium_hybrid.adapters.metrics import PrometheusTelemetry


@pytest.mark.parametrize(
    ("seconds", "alive"),
    [
        pytest.param(None, True, id="idle"),
        pytest.param(RECONCILE_TIMEOUT_SECONDS - 60, True, id="long reconciliation"),
        pytest.param(RECONCILE_TIMEOUT_SECONDS + 1, False, id="hanging reconciliation"),
    ],
)
def test_the_process_is_alive_unless_a_reconciliation_hangs(
    monkeypatch: pytest.MonkeyPatch, seconds: float | None, alive: bool
) -> None:
    telemetry = PrometheusTelemetry(CollectorRegistry())
    health, started = Health(telemetry), time.monotonic()
    if seconds is not None:
        telemetry.reconcile_started()
        monkeypatch.setattr(time, "monotonic", lambda: started + seconds)

    assert health.alive is alive


def test_a_finished_reconciliation_does_not_count_as_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry, started = PrometheusTelemetry(CollectorRegistry()), time.monotonic()
    telemetry.reconcile_started()
    telemetry.reconcile_finished(0.1)
    monkeypatch.setattr(time, "monotonic", lambda: started + RECONCILE_TIMEOUT_SECONDS + 1)

    assert Health(telemetry).alive


class Replica:
    """A replica whose watches a test loses, on a clock that it advances, and the answer to its readiness probe."""

    def __init__(self, *, ready: bool = True) -> None:
        self.seconds = 100.0
        self.telemetry = PrometheusTelemetry(CollectorRegistry())
        self.health = Health(self.telemetry, ready=ready)
        self.nodes = WatchState("nodes", clock=lambda: self.seconds)
        self.certificate = WatchState("secrets/cilium-ca", required=False, clock=lambda: self.seconds)
        self.telemetry.watches = [self.nodes, self.certificate]

    async def probe(self) -> tuple[int, str]:
        """Return status code and body of /readyz."""
        server = await serve(self.health, "127.0.0.1", 0)
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{server.addresses[0][1]}/readyz") as answer,
            ):
                return answer.status, await answer.text()
        finally:
            await server.cleanup()


def test_a_replica_whose_watches_work_is_ready() -> None:
    assert asyncio.run(Replica().probe()) == (200, "ok")


def test_a_lost_watch_that_decisions_rest_on_is_named_and_the_replica_is_not_ready() -> None:
    async def scenario() -> None:
        replica = Replica()
        replica.nodes.lose("nodes is forbidden")
        replica.seconds += GRACE_SECONDS - 1
        assert await replica.probe() == (200, "ok")
        replica.seconds += 37
        assert await replica.probe() == (503, "watch of nodes is lost: nodes is forbidden (for 41 s)")
        replica.nodes.established()
        assert await replica.probe() == (200, "ok")

    asyncio.run(scenario())


def test_another_lost_watch_is_only_named() -> None:
    async def scenario() -> None:
        replica = Replica()
        replica.certificate.lose("cut")
        replica.seconds += 60
        assert await replica.probe() == (200, "ok\nwatch of secrets/cilium-ca is lost: cut (for 60 s)")

    asyncio.run(scenario())


def test_a_replica_that_cannot_list_at_its_start_says_why() -> None:
    async def scenario() -> None:
        replica = Replica(ready=False)
        replica.nodes.lose("nodes is forbidden")
        replica.seconds += 6
        assert await replica.probe() == (
            503,
            "watches have not synced yet\nwatch of nodes is lost: nodes is forbidden (for 6 s)",
        )

    asyncio.run(scenario())


def test_a_status_that_cannot_be_written_for_a_minute_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        replica, started = Replica(), time.monotonic()
        replica.telemetry.status_written("status is forbidden")
        assert await replica.probe() == (200, "ok")
        monkeypatch.setattr(time, "monotonic", lambda: started + 61)
        assert replica.health.problems == ("the status has been out of date for 61 s: status is forbidden",)

    asyncio.run(scenario())
