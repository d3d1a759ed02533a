"""An informer whose watch is refused, cut, silent or ended, over real connections."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cilium_hybrid.adapters.kube import informer as module
from cilium_hybrid.adapters.kube.client import JSON, KubeClient
from cilium_hybrid.adapters.kube.informer import Informer, WatchTarget
from cilium_hybrid.adapters.kube.watch_state import WatchState
from cilium_hybrid.ports import ClusterUnavailableError
from tiny_api_server import LIMIT, TinyApiServer, Watches, connected, tiny_api_server

THINGS = "/api/v1/things"


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"MAX_RETRY_SECONDS": 0.05, "MAX_RELIST_SECONDS": 0.1, "CONFIRM_SECONDS": 0.05}
    for name, seconds in (times | {"FIRST_RETRY_SECONDS": 0.01}).items():
        monkeypatch.setattr(module, name, seconds)


@asynccontextmanager
async def watching(
    folder: Path, to_fact: Callable[[Mapping[str, Any]], str | None] | None = None, silence_seconds: float = LIMIT
) -> AsyncIterator[tuple[TinyApiServer, Informer[str]]]:
    async with tiny_api_server() as server, connected(server, folder) as client:
        server.change(THINGS, "a", value="1")
        state = WatchState("things", silence_seconds=silence_seconds)
        informer = Informer(
            client,
            WatchTarget(THINGS),
            to_fact or (lambda raw: str(raw["metadata"]["labels"])),
            lambda: None,
            state=state,
        )
        task = asyncio.ensure_future(informer.run())
        await until(lambda: informer.synced.is_set() and server.open_watches)
        try:
            yield server, informer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 # a server and a client that report no progress
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("short_times")
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_refused_watch_is_lost_although_lists_succeed_until_it_is_accepted(tmp_path: Path, status: int) -> None:
    async def scenario() -> None:
        async with watching(tmp_path) as (server, informer):
            server.refused = {"things": status}
            server.cut_watches()
            await until(lambda: informer.state.loss and str(status) in informer.state.loss.cause)
            lists, since = server.requests["list"], informer.state.loss and informer.state.loss.since
            await until(lambda: server.requests["list"] > lists + 2)
            assert informer.state.loss is not None
            assert informer.state.loss.since == since

            server.change(THINGS, "a", value="2")
            server.refused = {}
            await until(lambda: informer.state.loss is None)
            assert informer.facts == {"a": "{'value': '2'}"}

    asyncio.run(scenario())


@pytest.mark.usefixtures("short_times")
def test_a_watch_that_is_cut_is_lost_until_everything_was_listed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with watching(tmp_path) as (server, informer):
            server.watches = Watches.CUT
            server.cut_watches()
            await until(lambda: informer.state.loss)
            server.change(THINGS, "a", value="2")
            server.watches = Watches.KEEP_OPEN
            await until(lambda: informer.state.loss is None)
            assert informer.facts == {"a": "{'value': '2'}"}

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    assert [record.getMessage().partition(":")[0] for record in caplog.records if "things" in record.getMessage()] == [
        "watch of things is interrupted",
        "watch of things is re-established",
    ]


@pytest.mark.usefixtures("short_times")
def test_a_silent_watch_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with watching(tmp_path, silence_seconds=0.2) as (server, informer):
            await until(lambda: informer.state.loss)
            # Each new watch is established before it is found to be silent too.
            await until(lambda: server.requests["watch"] > 2)

    asyncio.run(scenario())


@pytest.mark.usefixtures("short_times")
def test_a_watch_that_the_server_ends_in_time_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORT_SECONDS", 0.05)
    losses = list[str]()
    monkeypatch.setattr(WatchState, "lose", lambda _, cause: losses.append(cause))

    async def scenario() -> None:
        async with watching(tmp_path) as (server, _):
            server.watches = Watches.END_LATER
            server.cut_watches()
            await until(lambda: losses)
            losses.clear()
            await until(lambda: server.requests["watch"] > 8)
            assert not losses

    asyncio.run(scenario())


def test_a_refused_watch_does_not_list_thousands_of_objects_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(module, "MAX_RETRY_SECONDS", 0.06)

    async def scenario() -> None:
        async with watching(tmp_path) as (server, _):
            server.refused = {"things": 403}
            server.requests.clear()
            server.cut_watches()
            await asyncio.sleep(2)
            assert 2 < server.requests["list"] < 10

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("watches", "cause"),
    [
        pytest.param(Watches.END_AT_ONCE, "the API server ends the watch at once", id="empty"),
        pytest.param(Watches.END_AFTER_A_BOOKMARK, None, id="one event each"),
    ],
)
def test_a_server_that_ends_watches_at_once_gets_few_requests(
    tmp_path: Path, watches: Watches, cause: str | None
) -> None:
    async def scenario() -> None:
        async with watching(tmp_path) as (server, informer):
            server.watches = watches
            server.requests.clear()
            server.cut_watches()
            await asyncio.sleep(4)
            assert 2 < server.requests.total() < 20
            assert (informer.state.loss and informer.state.loss.cause) == cause

    asyncio.run(scenario())


@pytest.mark.usefixtures("short_times")
def test_a_watch_whose_facts_cannot_be_built_is_lost_and_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    defective = False

    def to_fact(raw: Mapping[str, Any]) -> str:
        if defective:
            raise KeyError("a secret value")
        return str(raw["metadata"]["resourceVersion"])

    async def scenario() -> None:
        nonlocal defective
        async with watching(tmp_path, to_fact) as (server, informer):
            defective = True
            server.cut_watches()
            await until(lambda: informer.state.loss and "KeyError" in informer.state.loss.cause)
            lists = server.requests["list"]
            await until(lambda: server.requests["list"] > lists + 3)
            assert informer.state.loss is not None
            assert "secret" not in informer.state.loss.cause
            defective = False
            await until(lambda: informer.state.loss is None)

    asyncio.run(scenario())
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.mark.usefixtures("short_times")
def test_a_kind_that_is_not_served_is_not_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        served = asyncio.Event()

        async def wait_until_served() -> None:
            await served.wait()

        async with tiny_api_server() as server, connected(server, tmp_path) as client:
            server.refused, server.lists_too = {"things": 404}, True
            informer = Informer(client, WatchTarget(THINGS), str, lambda: None, wait_until_served)
            task = asyncio.ensure_future(informer.run())
            await asyncio.wait_for(informer.synced.wait(), LIMIT)
            assert informer.state.loss is None
            server.refused = {}
            server.change(THINGS, "a")
            served.set()
            await until(lambda: informer.facts)
            assert informer.state.loss is None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_the_pause_stays_bounded_in_a_long_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 1e-9)
    monkeypatch.setattr(module, "MAX_RETRY_SECONDS", 0.0)

    class Unavailable(KubeClient):
        """An API server that never answers."""

        def __init__(self) -> None:
            self.attempts = 0

        async def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Any:  # noqa: ARG002 # as in its parent
            self.attempts += 1
            raise ClusterUnavailableError("no answer")

    async def scenario() -> None:
        client = Unavailable()
        task = asyncio.ensure_future(Informer(client, WatchTarget(THINGS), str, lambda: None).run())
        async with asyncio.timeout(LIMIT):
            # 2 to the power of 1,100 is larger than any float.
            while client.attempts < 1100 and not task.done():  # noqa: ASYNC110 # the fake has no event
                await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
