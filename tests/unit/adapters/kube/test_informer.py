"""Rebuilding the facts of an informer while its watch runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.client import JSON, ApiError, KubeClient
from cilium_hybrid.adapters.kube.informer import Informer, WatchTarget
from cilium_hybrid.ports import ClusterUnavailableError


def an_object(version: int) -> dict[str, Any]:
    return {
        "metadata": {"name": "x", "resourceVersion": str(version), "labels": {"a": str(version), "b": f"b{version}"}}
    }


class OneObjectClient(KubeClient):
    """An API server with one object. A list is read at once, and delivered when `deliver` is set."""

    def __init__(self) -> None:
        self.version = 1
        self.error: Exception | None = None
        self.deliver = asyncio.Event()
        self.deliver.set()
        self.lists = 0
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def change(self) -> None:
        self.version += 1
        self._events.put_nowait({"type": "MODIFIED", "object": an_object(self.version)})

    async def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Any:  # noqa: ARG002 # as in its parent
        if self.error is not None:
            raise self.error
        self.lists += 1
        page = {"metadata": {"resourceVersion": str(self.version)}, "items": [an_object(self.version)]}
        await self.deliver.wait()
        return page

    @asynccontextmanager
    async def stream(self, *_: object) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        yield self._watch()

    async def _watch(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self._events.get()


def label(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda raw: str(raw["metadata"]["labels"][key])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 # the fake has no event
            await asyncio.sleep(0)


@asynccontextmanager
async def running(client: KubeClient) -> AsyncIterator[Informer[str]]:
    informer = Informer(client, WatchTarget("/things"), label("a"), lambda: None)
    task = asyncio.ensure_future(informer.run())
    await informer.synced.wait()
    try:
        yield informer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_all_facts_are_rebuilt_and_the_watch_continues() -> None:
    async def scenario() -> None:
        client = OneObjectClient()
        async with running(client) as informer:
            assert informer.facts == {"x": "1"}
            await informer.rebuild(label("b"))
            assert informer.facts == {"x": "b1"}
            client.change()
            await until(lambda: informer.facts == {"x": "b2"})
            assert client.lists == 2

    asyncio.run(scenario())


def test_an_event_that_arrives_during_the_list_is_not_lost() -> None:
    async def scenario() -> None:
        client = OneObjectClient()
        async with running(client) as informer:
            client.deliver.clear()
            rebuild = asyncio.ensure_future(informer.rebuild(label("b")))
            await until(lambda: client.lists == 2)
            client.change()
            for _ in range(20):
                await asyncio.sleep(0)
            client.deliver.set()
            await rebuild
            await until(lambda: informer.facts == {"x": "b2"})

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [ApiError(403, "forbidden"), ClusterUnavailableError("no answer")], ids=repr)
def test_a_failed_list_is_raised_and_can_be_repeated(error: Exception) -> None:
    async def scenario() -> None:
        client = OneObjectClient()
        async with running(client) as informer:
            client.error = error
            with pytest.raises(type(error)):
                await informer.rebuild(label("b"))
            client.error = None
            await informer.rebuild(label("b"))
            assert informer.facts == {"x": "b1"}

    asyncio.run(scenario())
