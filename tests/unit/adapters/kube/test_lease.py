"""Leader election without an API server; tests/contract/test_lease.py has the rest."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest

from cilium_hybrid.adapters.kube import lease as module
from cilium_hybrid.adapters.kube.client import JSON, ApiError, KubeClient
from cilium_hybrid.adapters.kube.lease import LEASE, LeaderElector
from cilium_hybrid.ports import ClusterUnavailableError

DEADLINE_SECONDS = 0.1


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"DEADLINE_SECONDS": DEADLINE_SECONDS, "RENEW_SECONDS": 0.02, "RETRY_SECONDS": 0.01}
    for name, seconds in times.items():
        monkeypatch.setattr(module, name, seconds)


class LeaseClient(KubeClient):
    """An API server with one Lease, whose watches never send an event."""

    def __init__(self, lease: dict[str, Any] | None = None) -> None:
        self.lease = lease
        self.unresponsive = False

    async def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Any:  # noqa: ARG002 # as its parent has it
        if self.unresponsive:
            await asyncio.sleep(3600)
        if not path.endswith(LEASE):
            return {"metadata": {"resourceVersion": "1"}, "items": [self.lease] if self.lease else []}
        if self.lease is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "not found")
        return self.lease

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self.put(path, body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ARG002 # as its parent has it
        if self.unresponsive:
            raise ClusterUnavailableError("no answer")
        self.lease = dict(body)
        return self.lease

    @asynccontextmanager
    async def stream(self, *_: object) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        yield self._no_events()

    async def _no_events(self) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(3600)
        yield {}


def a_lease(renewals: int, *, seconds: float = 0.03) -> dict[str, Any]:
    """A Lease held by `other` after this many renewals."""
    spec = {"holderIdentity": "other", "leaseDurationSeconds": seconds, "renewTime": f"2026-03-01T12:00:{renewals:02}Z"}
    return {"metadata": {"name": LEASE}, "spec": spec}


async def renew_as_other(client: LeaseClient) -> None:
    for renewals in range(1, 10**6):
        client.lease = a_lease(renewals)
        await asyncio.sleep(0.005)


async def acquires(elector: LeaderElector, within: float) -> bool:
    try:
        await asyncio.wait_for(elector.acquire(), within)
    except TimeoutError:
        return False
    return True


def test_a_standby_with_a_lagging_watch_does_not_take_over_a_renewed_lease() -> None:
    async def scenario() -> tuple[bool, bool]:
        client = LeaseClient(a_lease(0))
        elector = LeaderElector(client, "default", "one")
        other = asyncio.ensure_future(renew_as_other(client))
        taken = await acquires(elector, 0.3)
        other.cancel()
        return taken, elector.is_leader

    assert asyncio.run(scenario()) == (False, False)


def test_an_expired_lease_is_taken_over_even_if_the_watch_sends_no_event() -> None:
    async def scenario() -> tuple[bool, bool]:
        elector = LeaderElector(LeaseClient(a_lease(0)), "default", "one")
        return await acquires(elector, 5), elector.is_leader

    assert asyncio.run(scenario()) == (True, True)


def test_the_deadline_also_limits_reading_the_holder() -> None:
    async def scenario() -> tuple[str, bool]:
        client = LeaseClient()
        elector = LeaderElector(client, "default", "one")
        await elector.acquire()
        client.unresponsive = True
        return await asyncio.wait_for(elector.wait_until_lost(), 5), elector.is_leader

    assert asyncio.run(scenario()) == ("the API server did not answer in time to renew the Lease", False)
