"""kopf's watch against an API server in this process: events arrive, and a lost watch is noticed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cilium_hybrid.adapters.kube.informer import WATCH_SECONDS
from cilium_hybrid.adapters.kube.watch_state import SILENCE_SECONDS, WatchState
from cilium_hybrid.handlers import resource as module
from cilium_hybrid.handlers import traced_session
from cilium_hybrid.handlers.resource import new_watch_state, watch_resource
from tiny_api_server import LIMIT, TinyApiServer, tiny_api_server

RESOURCES = "/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids"


def _discovered(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "singularName": "", "namespaced": False, "verbs": ["list", "watch"]}


# kopf waits until it has found namespaces, although it watches none.
DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [_discovered("namespaces", "Namespace")]},
    "/apis": {
        "groups": [
            {
                "name": "ciliumhybrid.io",
                "preferredVersion": {"version": "v1alpha1"},
                "versions": [{"version": "v1alpha1"}],
            }
        ]
    },
    "/apis/ciliumhybrid.io/v1alpha1": {"resources": [_discovered("ciliumhybrids", "CiliumHybrid")]},
}


@asynccontextmanager
async def watching(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changed: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[TinyApiServer, WatchState, "asyncio.Future[NoReturn]"]]:
    """Start kopf, and wait until its watch is open."""
    async with tiny_api_server() as server:
        server.documents = DISCOVERY
        server.change(RESOURCES, "default")
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(folder)))
        state = new_watch_state()
        watch = asyncio.ensure_future(watch_resource(changed, False, lambda: None, state))
        try:
            await until(lambda: server.open_watches or watch.done())
            yield server, state, watch
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 # kopf reports no progress
            await asyncio.sleep(0.01)


def test_the_watch_of_a_quiet_server_is_not_lost_and_events_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        changed = asyncio.Event()
        async with watching(tmp_path, monkeypatch, changed.set) as (_, state, _watch):
            await asyncio.wait_for(changed.wait(), LIMIT)
            assert (state.loss, state.required) == (None, False)

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_refused_watch_is_lost_with_the_words_of_the_api_server_until_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(module, "FIRST_LOGIN_PAUSE", 0.05)

    async def scenario() -> None:
        async with watching(tmp_path, monkeypatch) as (server, state, watch):
            server.refused = {"watch=true": status}
            server.cut_watches()
            await until(lambda: state.loss and state.loss.cause == f"ciliumhybrids is refused with {status}")
            server.refused = {}
            await until(lambda: state.loss is None)
            assert server.open_watches
            assert not watch.done()

    asyncio.run(scenario())


def test_a_watch_that_a_proxy_refuses_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with watching(tmp_path, monkeypatch) as (server, state, _):
            server.refused, server.proxied = {"watch=true": 502}, True
            server.cut_watches()
            await until(lambda: state.loss and state.loss.cause == "HTTP status 502")

    asyncio.run(scenario())


def test_refused_credentials_cause_few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with watching(tmp_path, monkeypatch) as (server, state, _):
            server.refused, server.lists_too = {"ciliumhybrids": 401}, True
            server.requests.clear()
            server.cut_watches()
            await asyncio.sleep(2.5)
            assert state.loss is not None
            assert 0 < server.requests.total() < 10

    asyncio.run(scenario())


def test_a_request_without_an_answer_is_a_lost_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced_session, "ANSWER_SECONDS", 0.1)

    async def scenario() -> None:
        async with watching(tmp_path, monkeypatch) as (server, state, _):
            server.answering.clear()
            server.cut_watches()
            await until(lambda: state.loss)
            assert state.loss is not None
            assert state.loss.cause == "the API server has not answered for 0.1 s"
            server.answering.set()
            await until(lambda: state.loss is None)

    asyncio.run(scenario())


def test_a_silent_watch_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SILENCE_SECONDS < WATCH_SECONDS
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.2)

    async def scenario() -> None:
        async with watching(tmp_path, monkeypatch) as (server, _, watch):
            await until(lambda: server.requests["watch"] > 2)
            assert not watch.done()

    asyncio.run(scenario())
