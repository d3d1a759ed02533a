"""Leader election without an API server; tests/contract/test_lease.py has the rest."""

import asyncio
import time
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


class Clock:
    """The clock of a machine: it runs, and a test can suspend the machine, which no timer notices."""

    def __init__(self) -> None:
        self.suspended = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.suspended


class LeaseClient(KubeClient):
    """An API server with one Lease, whose watches never send an event.

    A write that is `unanswered` takes effect, but the caller gets an error.
    """

    def __init__(self, lease: dict[str, Any] | None = None) -> None:
        self.lease = lease
        self.unresponsive = self.unanswered = False

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
        if self.unanswered:
            self.unanswered = False
            raise ClusterUnavailableError("no answer")
        return self.lease

    @asynccontextmanager
    async def stream(self, *_: object) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        yield self._no_events()

    async def _no_events(self) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(3600)
        yield {}


def a_lease(renewals: int, *, holder: str = "other", seconds: float = 0.03) -> dict[str, Any]:
    """A Lease after this many renewals. The holder's clock is far behind."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": f"2001-03-01T12:00:{renewals:02}Z"}
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


def test_a_leader_whose_clock_is_slow_keeps_the_lease_while_it_renews_and_hands_it_over() -> None:
    async def scenario() -> tuple[bool, bool, bool]:
        client = LeaseClient(a_lease(0))
        elector = LeaderElector(client, "default", "one")
        other = asyncio.ensure_future(renew_as_other(client))
        early = await acquires(elector, 0.3)
        other.cancel()
        client.lease = a_lease(0, holder="", seconds=1)
        return early, await acquires(elector, 5), elector.is_leader

    assert asyncio.run(scenario()) == (False, True, True)


def test_time_for_which_the_machine_was_suspended_counts_against_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    # No timer is due soon: only the clock tells.
    for name, seconds in {"DEADLINE_SECONDS": 600.0, "RENEW_SECONDS": 300.0, "CHECK_SECONDS": 0.05}.items():
        monkeypatch.setattr(module, name, seconds)

    async def scenario() -> tuple[bool, bool, str]:
        clock = Clock()
        elector = LeaderElector(LeaseClient(), "default", "one", clock)
        await elector.acquire()
        lost = asyncio.ensure_future(elector.wait_until_lost())
        await asyncio.sleep(0)
        before = elector.is_leader
        clock.suspended = 3600.0
        # Before any task of the resumed process has run.
        return before, elector.is_leader, await asyncio.wait_for(lost, 5)

    assert asyncio.run(scenario()) == (True, False, "the Lease was not renewed in time")


def test_the_clock_of_a_leader_counts_the_time_for_which_the_machine_was_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DEADLINE_SECONDS", 600.0)
    read_clock = time.clock_gettime

    def resumed(clock: int) -> float:
        return read_clock(clock) + (3600.0 if clock == time.CLOCK_BOOTTIME else 0.0)

    async def scenario() -> tuple[bool, bool]:
        elector = LeaderElector(LeaseClient(), "default", "one")
        await elector.acquire()
        before = elector.is_leader
        monkeypatch.setattr(time, "clock_gettime", resumed)
        return before, elector.is_leader

    assert asyncio.run(scenario()) == (True, False)


def test_a_renewal_that_was_sent_before_the_machine_was_suspended_does_not_prolong_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.01)

    async def scenario() -> tuple[str, bool]:
        clock = Clock()

        class Suspended(LeaseClient):
            """The machine is suspended between a renewal and its answer."""

            async def put(self, path: str, body: Mapping[str, Any]) -> Any:
                answer = await super().put(path, body)
                clock.suspended += 3600.0 if elector.is_leader else 0.0
                return answer

        elector = LeaderElector(Suspended(), "default", "one", clock)
        await elector.acquire()
        return await asyncio.wait_for(elector.wait_until_lost(), 5), elector.is_leader

    assert asyncio.run(scenario()) == ("the Lease was not renewed in time", False)


@pytest.mark.parametrize(
    ("holder", "held_before"),
    [
        pytest.param("one", True, id="this pod, before its container was restarted"),
        pytest.param("other", False, id="another replica"),
        pytest.param("", False, id="released"),
        pytest.param(None, False, id="no Lease"),
    ],
)
def test_the_previous_holder_is_known(holder: str | None, held_before: bool) -> None:
    async def scenario() -> bool:
        elector = LeaderElector(LeaseClient(None if holder is None else a_lease(0, holder=holder)), "default", "one")
        assert await acquires(elector, 5)
        return elector.held_before

    assert asyncio.run(scenario()) is held_before


def test_a_takeover_whose_answer_was_lost_is_still_one_from_another_holder() -> None:
    async def scenario() -> bool:
        client = LeaseClient(a_lease(0))
        client.unanswered = True
        elector = LeaderElector(client, "default", "one")
        assert await acquires(elector, 5)
        return elector.held_before

    assert not asyncio.run(scenario())


def test_the_deadline_also_limits_reading_the_holder() -> None:
    async def scenario() -> tuple[str, bool]:
        client = LeaseClient()
        elector = LeaderElector(client, "default", "one")
        await elector.acquire()
        client.unresponsive = True
        return await asyncio.wait_for(elector.wait_until_lost(), 5), elector.is_leader

    assert asyncio.run(scenario()) == ("the API server did not answer in time to renew the Lease", False)
