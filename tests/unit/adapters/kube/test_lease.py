"""What of the Lease needs no API server to be shown; tests/contract/test_lease.py has the rest."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cilium_hybrid.adapters.kube import lease as module
from cilium_hybrid.adapters.kube.client import JSON, ApiError, KubeClient
from cilium_hybrid.adapters.kube.informer import NOT_FOUND
from cilium_hybrid.adapters.kube.lease import LEASE, Elector
from cilium_hybrid.ports import ClusterUnavailableError

DEADLINE_SECONDS = 0.1


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"DEADLINE_SECONDS": DEADLINE_SECONDS, "RENEW_SECONDS": 0.02, "RETRY_SECONDS": 0.01}
    for name, seconds in times.items():
        monkeypatch.setattr(module, name, seconds)


class OneLease(KubeClient):
    """An API server that has one Lease, and whose watches never tell of a change."""

    def __init__(self, lease: dict[str, Any] | None = None) -> None:
        self.lease = lease
        self.hangs = False

    async def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Any:  # noqa: ARG002 # as its parent has it
        if self.hangs:
            await asyncio.sleep(3600)
        if not path.endswith(LEASE):
            return {"metadata": {"resourceVersion": "1"}, "items": [self.lease] if self.lease else []}
        if self.lease is None:
            raise ApiError(NOT_FOUND, "not found")
        return self.lease

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self.put(path, body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ARG002 # as its parent has it
        if self.hangs:
            raise ClusterUnavailableError("no answer")
        self.lease = dict(body)
        return self.lease

    @asynccontextmanager
    async def stream(self, *_: object) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        yield self._silence()

    async def _silence(self) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(3600)
        yield {}


def a_lease(beat: int, *, seconds: float = 0.03) -> dict[str, Any]:
    """A Lease of `other`, as it is after so many renewals."""
    spec = {"holderIdentity": "other", "leaseDurationSeconds": seconds, "renewTime": f"2026-03-01T12:00:{beat:02}Z"}
    return {"metadata": {"name": LEASE}, "spec": spec}


async def renewed_by_the_other(client: OneLease) -> None:
    for beat in range(1, 10**6):
        client.lease = a_lease(beat)
        await asyncio.sleep(0.005)


async def leads(elector: Elector, within: float) -> bool:
    try:
        await asyncio.wait_for(elector.acquire(), within)
    except TimeoutError:
        return False
    return True


def test_a_standby_whose_watch_lags_does_not_take_a_lease_that_lives() -> None:
    async def scenario() -> tuple[bool, bool]:
        client = OneLease(a_lease(0))
        elector = Elector(client, "default", "one")
        other = asyncio.ensure_future(renewed_by_the_other(client))
        taken = await leads(elector, 0.3)
        other.cancel()
        return taken, elector.holds

    assert asyncio.run(scenario()) == (False, False)


def test_a_lease_whose_holder_fell_silent_is_taken_though_the_watch_is_silent_too() -> None:
    async def scenario() -> tuple[bool, bool]:
        elector = Elector(OneLease(a_lease(0)), "default", "one")
        return await leads(elector, 5), elector.holds

    assert asyncio.run(scenario()) == (True, True)


def test_the_question_who_holds_the_lease_is_not_waited_for_beyond_the_deadline() -> None:
    async def scenario() -> tuple[str, bool]:
        client = OneLease()
        elector = Elector(client, "default", "one")
        await elector.acquire()
        client.hangs = True
        return await asyncio.wait_for(elector.lost(), 5), elector.holds

    assert asyncio.run(scenario()) == ("the API server did not answer in time to renew the Lease", False)
