"""Leader election against an API server: a leader has stopped before another one starts. Timeouts are shortened."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from cilium_hybrid.adapters.kube import lease as module
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.lease import LEASE, LeaderElector
from testbed.cluster import Cluster

NAMESPACE = "default"
LEASE_SECONDS, DEADLINE_SECONDS = 2, 1.0
Result = TypeVar("Result")
Make = Callable[[str], LeaderElector]


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
            return await scenario(lambda identity: LeaderElector(client, NAMESPACE, identity))

    return asyncio.run(run())


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[KubeClient]:
    client = await KubeClient.connect(str(cluster.kubeconfig))
    try:
        yield client
    finally:
        await client.close()


async def acquires(elector: LeaderElector, within: float) -> bool:
    try:
        await asyncio.wait_for(elector.acquire(), within)
    except TimeoutError:
        return False
    return True


@asynccontextmanager
async def renewing(elector: LeaderElector) -> AsyncIterator["asyncio.Future[str]"]:
    renewal = asyncio.ensure_future(elector.wait_until_lost())
    try:
        yield renewal
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)


def test_one_leads_while_it_renews_and_the_other_stands_by(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> tuple[bool, bool, bool, bool]:
        one, other = make("one"), make("other")
        before = one.is_leader
        taken = await acquires(one, 5)
        async with renewing(one) as renewal:
            too = await acquires(other, 2 * LEASE_SECONDS)
            return before, taken and not renewal.done(), one.is_leader, too or other.is_leader

    assert with_electors(testbed_cluster, scenario) == (False, True, True, False)


def test_another_leads_only_after_a_leader_that_does_not_renew_has_stopped(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> tuple[float, bool, bool]:
        one, other = make("one"), make("other")
        await one.acquire()
        started = time.monotonic()
        await acquires(other, 10)
        return time.monotonic() - started, one.is_leader, other.is_leader

    waited, one_leads, other_leads = with_electors(testbed_cluster, scenario)

    assert waited > DEADLINE_SECONDS
    assert (one_leads, other_leads) == (False, True)


def test_a_released_lease_is_acquired_at_once(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> bool:
        one, other = make("one"), make("other")
        await one.acquire()
        standing_by = asyncio.ensure_future(acquires(other, 10))
        await asyncio.sleep(0.2)
        started = time.monotonic()
        await one.release()
        return await standing_by and time.monotonic() - started < LEASE_SECONDS / 2

    assert with_electors(testbed_cluster, scenario)


def test_the_same_pod_acquires_its_lease_again_at_once(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> bool:
        await make("one").acquire()
        return await acquires(make("one"), LEASE_SECONDS / 2)

    assert with_electors(testbed_cluster, scenario)


def test_a_lease_taken_by_another_is_lost_and_the_holder_is_named(testbed_cluster: Cluster) -> None:
    taken = json.dumps({"spec": {"holderIdentity": "other", "renewTime": "2026-03-01T12:00:00.000000Z"}})

    async def scenario(make: Make) -> str:
        one = make("one")
        await one.acquire()
        async with renewing(one) as renewal:
            patch = ("patch", "lease", LEASE, "-n", NAMESPACE, "--type=merge", "-p", taken)
            await asyncio.to_thread(testbed_cluster.kubectl, *patch)
            return await asyncio.wait_for(renewal, 5)

    assert "other" in with_electors(testbed_cluster, scenario)


def test_the_lease_of_another_is_not_released(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> None:
        await make("one").acquire()
        await make("other").release()

    with_electors(testbed_cluster, scenario)

    assert testbed_cluster.get("lease", LEASE, NAMESPACE)["spec"]["holderIdentity"] == "one"


def test_leadership_ends_at_the_deadline_if_the_api_server_does_not_answer(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> tuple[float, bool]:
        one = make("one")
        await one.acquire()
        async with renewing(one) as renewal:
            await asyncio.sleep(0.1)
            started = time.monotonic()
            testbed_cluster.pause_api_server()
            try:
                await asyncio.wait_for(renewal, 10)
                return time.monotonic() - started, one.is_leader
            finally:
                testbed_cluster.resume_api_server()

    waited, holds = with_electors(testbed_cluster, scenario)

    assert waited < LEASE_SECONDS
    assert not holds


def test_an_edit_of_the_lease_by_another_client_does_not_lose_it(testbed_cluster: Cluster) -> None:
    async def scenario(make: Make) -> tuple[bool, bool]:
        one = make("one")
        await one.acquire()
        async with renewing(one) as renewal:
            label = ("label", "lease", LEASE, "-n", NAMESPACE, "team=network")
            await asyncio.to_thread(testbed_cluster.kubectl, *label)
            await asyncio.sleep(1.5 * DEADLINE_SECONDS)
            return renewal.done(), one.is_leader

    assert with_electors(testbed_cluster, scenario) == (False, True)
