"""The watch of the resource, by kopf, as one of many tasks of a process that goes on without it."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from cilium_hybrid.handlers.resource import NotServedError, watch_resource
from contract.conftest import CRDS
from testbed.cluster import Cluster
from testbed.operator import wait_for_the_definition
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
    """A cluster with one resource, that kopf finds as it does in a shell; its definition is there again afterwards."""
    monkeypatch.setenv("KUBECONFIG", str(testbed_cluster.kubeconfig))
    wait_until(lambda: testbed_cluster.request("POST", RESOURCES, RESOURCE), timeout=LIMIT, what="the resource")
    yield testbed_cluster
    testbed_cluster.kubectl("apply", "-k", CRDS)
    wait_for_the_definition(testbed_cluster)
    testbed_cluster.kubectl("delete", "ciliumhybrids", "--all")


def _run(go: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run it, and see that kopf leaves no socket behind; it does not wait for those that it closes."""

    async def whole() -> None:
        before = _sockets()
        await go()
        async with asyncio.timeout(LIMIT):
            while _sockets() > before:  # noqa: ASYNC110 # no event tells of it
                await asyncio.sleep(0.01)

    asyncio.run(whole())


def _sockets() -> int:
    return sum(path.is_socket() for path in Path("/proc/self/fd").iterdir())


async def _until_it_fails(cluster: Cluster, watch: "asyncio.Future[NoReturn]") -> None:
    """Take the definition away, and wait until kopf has given up."""
    await asyncio.to_thread(cluster.kubectl, "delete", "-k", CRDS)
    await asyncio.wait([watch], timeout=LIMIT)
    assert watch.done(), "kopf goes on without a definition"
    assert isinstance(watch.exception(), NotServedError)


def test_a_watch_that_gives_up_leaves_the_other_tasks_alone(watched: Cluster) -> None:
    async def go() -> None:
        rung = asyncio.Event()
        watch = asyncio.ensure_future(watch_resource(rung.set, False, lambda: None))
        async with asyncio.timeout(LIMIT):
            await rung.wait()
        # As Helm and requests are: begun while kopf watches, and under way when it gives up.
        other = asyncio.ensure_future(asyncio.Event().wait())
        await _until_it_fails(watched, watch)
        await asyncio.sleep(0)

        assert not other.done()
        other.cancel()

    _run(go)


def test_the_signals_are_those_of_the_process(watched: Cluster) -> None:
    async def go() -> None:
        rung, stopping = asyncio.Event(), asyncio.Event()
        take_signals = partial(asyncio.get_running_loop().add_signal_handler, signal.SIGTERM, stopping.set)
        watch = asyncio.ensure_future(watch_resource(rung.set, False, take_signals))
        async with asyncio.timeout(LIMIT):
            await rung.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await stopping.wait()

        assert not watch.done()
        stopping.clear()
        await _until_it_fails(watched, watch)
        async with asyncio.timeout(LIMIT):
            os.kill(os.getpid(), signal.SIGTERM)
            await stopping.wait()

    _run(go)


def test_a_resource_that_is_not_served_yet_is_not_waited_for_in_silence(watched: Cluster) -> None:
    async def go() -> None:
        await asyncio.to_thread(watched.kubectl, "delete", "-k", CRDS)
        with pytest.raises(NotServedError):
            async with asyncio.timeout(LIMIT):
                await watch_resource(lambda: None, False, lambda: None)

    _run(go)


@pytest.mark.usefixtures("watched")
def test_it_ends_whole_when_it_is_cancelled() -> None:
    async def go() -> None:
        rung = asyncio.Event()
        watch = asyncio.ensure_future(watch_resource(rung.set, False, lambda: None))
        async with asyncio.timeout(LIMIT):
            await rung.wait()
            watch.cancel()
            await asyncio.wait([watch])

        assert asyncio.all_tasks() == {asyncio.current_task()}

    _run(go)
