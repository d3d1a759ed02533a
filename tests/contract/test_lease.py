"""The Lease on an API server: one leads, and it has stopped before another starts. Times are short here."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from cilium_hybrid.adapters.kube import lease as module
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.lease import LEASE, Elector
from testbed.cluster import Cluster

NAMESPACE = "default"
LEASE_SECONDS, DEADLINE_SECONDS = 2, 1.0
Result = TypeVar("Result")
Make = Callable[[str], Elector]


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"LEASE_SECONDS": LEASE_SECONDS, "DEADLINE_SECONDS": DEADLINE_SECONDS}
    for name, seconds in (times | {"RENEW_SECONDS": 0.3, "RETRY_SECONDS": 0.1}).items():
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture(autouse=True)
def no_lease(testbed_cluster: Cluster) -> None:
    testbed_cluster.kubectl("delete", "lease", LEASE, "-n", NAMESPACE, "--ignore-not-found")


def with_electors(cluster: Cluster, scenario: Callable[[Make], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with connected(cluster) as client:
            return await scenario(lambda identity: Elector(client, NAMESPACE, identity))

    return asyncio.run(run())


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[KubeClient]:
    client = await KubeClient.connect(str(cluster.kubeconfig))
    try:
        yield client
    finally:
        await client.close()


async def leads(elector: Elector, within: float) -> bool:
    try:
        await asyncio.wait_for(elector.acquire(), within)
    except TimeoutError:
        return False
    return True


@asynccontextmanager
async def keeping(elector: Elector) -> AsyncIterator["asyncio.Future[str]"]:
    keeper = asyncio.ensure_future(elector.lost())
    try:
        yield keeper
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


def test_one_leads_for_as_long_as_it_renews_and_the_other_stands_by(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> tuple[bool, bool, bool, bool]:
        one, other = make("one"), make("other")
        before = one.holds
        taken = await leads(one, 5)
        async with keeping(one) as keeper:
            too = await leads(other, 2 * LEASE_SECONDS)
            return before, taken and not keeper.done(), one.holds, too or other.holds

    assert with_electors(testbed_cluster, scenario) == (False, True, True, False)


def test_another_starts_only_after_the_one_that_fell_silent_has_stopped(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> tuple[float, bool, bool]:
        one, other = make("one"), make("other")
        await one.acquire()
        started = time.monotonic()
        await leads(other, 10)
        return time.monotonic() - started, one.holds, other.holds

    waited, one_holds, other_holds = with_electors(testbed_cluster, scenario)

    assert waited > DEADLINE_SECONDS
    assert (one_holds, other_holds) == (False, True)


def test_a_lease_that_was_given_back_is_taken_at_once(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> bool:
        one, other = make("one"), make("other")
        await one.acquire()
        standing_by = asyncio.ensure_future(leads(other, 10))
        await asyncio.sleep(0.2)
        started = time.monotonic()
        await one.release()
        return await standing_by and time.monotonic() - started < LEASE_SECONDS / 2

    assert with_electors(testbed_cluster, scenario)


def test_the_same_pod_takes_its_lease_again_at_once(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> bool:
        await make("one").acquire()
        return await leads(make("one"), LEASE_SECONDS / 2)

    assert with_electors(testbed_cluster, scenario)


def test_a_lease_that_another_took_is_lost_by_name(testbed_cluster: Cluster) -> None:
    taken = json.dumps({"spec": {"holderIdentity": "other", "renewTime": "2026-03-01T12:00:00.000000Z"}})

    async def scenario(make: Make) -> str:
        one = make("one")
        await one.acquire()
        async with keeping(one) as keeper:
            patch = ("patch", "lease", LEASE, "-n", NAMESPACE, "--type=merge", "-p", taken)
            await asyncio.to_thread(testbed_cluster.kubectl, *patch)
            return await asyncio.wait_for(keeper, 5)

    assert "other" in with_electors(testbed_cluster, scenario)


def test_the_lease_of_another_is_not_given_back(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> None:
        await make("one").acquire()
        await make("other").release()

    with_electors(testbed_cluster, scenario)

    assert testbed_cluster.get("lease", LEASE, NAMESPACE)["spec"]["holderIdentity"] == "one"


def test_an_api_server_that_does_not_answer_is_not_waited_for_beyond_the_deadline(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> tuple[float, bool]:
        one = make("one")
        await one.acquire()
        async with keeping(one) as keeper:
            await asyncio.sleep(0.1)
            started = time.monotonic()
            testbed_cluster.pause_api_server()
            try:
                await asyncio.wait_for(keeper, 10)
                return time.monotonic() - started, one.holds
            finally:
                testbed_cluster.resume_api_server()

    waited, holds = with_electors(testbed_cluster, scenario)

    assert waited < LEASE_SECONDS
    assert not holds


def test_an_edit_of_the_lease_by_somebody_else_loses_nothing(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> tuple[bool, bool]:
        one = make("one")
        await one.acquire()
        async with keeping(one) as keeper:
            label = ("label", "lease", LEASE, "-n", NAMESPACE, "team=network")
            await asyncio.to_thread(testbed_cluster.kubectl, *label)
            await asyncio.sleep(1.5 * DEADLINE_SECONDS)
            return keeper.done(), one.holds

    assert with_electors(testbed_cluster, scenario) == (False, True)
