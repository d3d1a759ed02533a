"""An HTTP session for kopf that records whether its watch works: kopf retries silently, and reports nothing."""

import asyncio
import json
from contextlib import suppress
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final

import aiohttp
import kopf

from cilium_hybrid.adapters.kube.watch_state import WatchState

ANSWER_SECONDS: Final = 15.0
"""A request that is not answered for this long counts as refused."""


def traced_session(info: kopf.ConnectionInfo, state: WatchState) -> kopf.AiohttpSession:
    """Return a session with these credentials. kopf closes it."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        trace_configs=[_trace(state)],
    )
    return kopf.AiohttpSession(
        server=info.server, default_namespace=info.default_namespace, aiohttp_session=session, priority=info.priority
    )


def _trace(state: WatchState) -> aiohttp.TraceConfig:
    """Return callbacks that record refused requests, and watches that were accepted."""

    async def started(_: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceRequestStartParams) -> None:
        text = f"the API server has not answered for {ANSWER_SECONDS:g} s"
        context.unanswered = asyncio.get_running_loop().call_later(ANSWER_SECONDS, state.lose, text)
        context.refused = False

    async def answered(
        _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        context.unanswered.cancel()
        status = params.response.status
        if status == HTTPStatus.NOT_FOUND:
            state.suspended()
        elif status >= HTTPStatus.BAD_REQUEST:
            context.refused = True
            state.lose(f"HTTP status {status}")
        elif "watch" in params.url.query:
            state.established()

    async def received(
        _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceResponseChunkReceivedParams
    ) -> None:
        if context.refused:
            with suppress(ValueError, KeyError, TypeError):
                state.lose(str(json.loads(params.chunk)["message"]))

    async def failed(
        _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        context.unanswered.cancel()
        state.lose(f"no answer from the API server ({type(params.exception).__name__})")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(started)
    trace.on_request_end.append(answered)
    trace.on_response_chunk_received.append(received)
    trace.on_request_exception.append(failed)
    return trace
