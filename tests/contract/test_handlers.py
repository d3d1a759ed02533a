"""kopf's watch of the resource, as one of several tasks of a process that continues if the watch ends."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from cilium_hybrid.handlers.resource import NotServedError, new_watch_state, watch_resource
from contract.conftest import CRDS
from testbed.cluster import Cluster
from testbed.operator import wait_for_crd
from testbed.processes import wait_until

RESOURCE = {
    "apiVersion": "ciliumhybrid.io/v1alpha1",
    "kind": "CiliumHybrid",
    "metadata": {"name": "default"},
    "spec": {"version": "1.17.13-1", "ipam": {"podCIDRs": ["10.85.0.0/16"], "maskSize": 25}},
}
RESOURCES = "/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids"
LIMIT = 30.0


@pytest.fixture
def watched(testbed_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster with one resource, which kopf finds through KUBECONFIG; afterwards the CRD is created again."""
    monkeypatch.setenv("KUBECONFIG", str(testbed_cluster.kubeconfig))
    wait_until(lambda: testbed_cluster.request("POST", RESOURCES, RESOURCE), timeout=LIMIT, what="the resource")
    yield testbed_cluster
    testbed_cluster.kubectl("apply", "-f", CRDS)
    wait_for_crd(testbed_cluster)
    testbed_cluster.kubectl("delete", "ciliumhybrids", "--all")


def _run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a scenario, and check that kopf leaves no socket open; kopf does not wait until they are closed."""

    async def run() -> None:
        before = _sockets()
        await scenario()
        async with asyncio.timeout(LIMIT):
            while _sockets() > before:  # noqa: ASYNC110 # no event reports it
                await asyncio.sleep(0.01)

    asyncio.run(run())


def _sockets() -> int:
    return sum(path.is_socket() for path in Path("/proc/self/fd").iterdir())


async def _until_it_fails(cluster: Cluster, watch: "asyncio.Future[NoReturn]") -> None:
    """Delete the CRD, and wait until kopf stops."""
    await asyncio.to_thread(cluster.kubectl, "delete", "-f", CRDS)
    await asyncio.wait([watch], timeout=LIMIT)
    assert watch.done(), "kopf continues without a CRD"
    assert isinstance(watch.exception(), NotServedError)


def test_a_watch_that_ends_does_not_cancel_other_tasks(watched: Cluster) -> None:
    async def scenario() -> None:
        changed = asyncio.Event()
        watch = asyncio.ensure_future(watch_resource(changed.set, False, lambda: None, new_watch_state()))
        async with asyncio.timeout(LIMIT):
            await changed.wait()
        # Like Helm and requests: started while kopf watches, and still running when it stops.
        other = asyncio.ensure_future(asyncio.Event().wait())
        await _until_it_fails(watched, watch)
        await asyncio.sleep(0)

        assert not other.done()
        other.cancel()

    _run(scenario)


def test_the_process_keeps_its_signal_handlers(watched: Cluster) -> None:
    async def scenario() -> None:
        changed, stopping = asyncio.Event(), asyncio.Event()
        restore_handlers = partial(asyncio.get_running_loop().add_signal_handler, signal.SIGTERM, stopping.set)
        watch = asyncio.ensure_future(watch_resource(changed.set, False, restore_handlers, new_watch_state()))
        async with asyncio.timeout(LIMIT):
            await changed.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await stopping.wait()

        assert not watch.done()
        stopping.clear()
        await _until_it_fails(watched, watch)
        async with asyncio.timeout(LIMIT):
            os.kill(os.getpid(), signal.SIGTERM)
            await stopping.wait()

    _run(scenario)


def test_a_resource_that_is_not_served_raises_an_error(watched: Cluster) -> None:
    async def scenario() -> None:
        await asyncio.to_thread(watched.kubectl, "delete", "-f", CRDS)
        with pytest.raises(NotServedError):
            async with asyncio.timeout(LIMIT):
                await watch_resource(lambda: None, False, lambda: None, new_watch_state())

    _run(scenario)


@pytest.mark.usefixtures("watched")
def test_cancellation_leaves_no_task() -> None:
    async def scenario() -> None:
        changed = asyncio.Event()
        watch = asyncio.ensure_future(watch_resource(changed.set, False, lambda: None, new_watch_state()))
        async with asyncio.timeout(LIMIT):
            await changed.wait()
            watch.cancel()
            await asyncio.wait([watch])

        assert asyncio.all_tasks() == {asyncio.current_task()}

    _run(scenario)
