"""A proxy between the operator and the API server that can interrupt any single write, and refuse watches."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp
import trustme
import yaml
from aiohttp import web

from testbed.processes import free_port

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
START_LIMIT = 10.0
When = Literal["before", "after"]

# Writes that say nothing about the progress of the operator.
_IGNORED = ("/leases", "/selfsubject")


class Interposer:
    """Forwards every request, records the writes, and calls a function before or after a chosen one.

    A write stopped `before` never reaches the API server. A write stopped `after` is done, but gets no response.
    `refuse_watches` maps a part of a path to the status with which its watches are refused; reads are forwarded.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._upstream = yaml.safe_load(kubeconfig.read_text())
        self._folder, self._port = folder, free_port()
        self._certificates = trustme.CA()
        self._loop = asyncio.new_event_loop()
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="interposer")
        self.writes: list[str] = []
        self.refuse_watches: dict[str, int] = {}
        self._watches: list[web.Request] = []
        self._stopped = threading.Event()
        self._stop_at: tuple[str, When, Callable[[], None]] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_LIMIT):
            raise TimeoutError("the interposer did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()
        self._loop.close()

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig for the proxy, with the same token."""
        path, ca = self._folder / "kubeconfig-interposed", self._folder / "interposer-ca.pem"
        self._certificates.cert_pem.write_to_path(str(ca))
        config = json.loads(json.dumps(self._upstream))
        cluster = config["clusters"][0]["cluster"]
        cluster.pop("certificate-authority-data", None)
        cluster |= {"server": f"https://127.0.0.1:{self._port}", "certificate-authority": str(ca)}
        path.write_text(yaml.safe_dump(config))
        return path

    def stop_at(self, write: str, when: When, call: Callable[[], None]) -> None:
        """Call `call` at the next write whose method is the first word of `write` and whose path contains the others.

        The write is then dropped, or its response is lost.
        """
        self.writes.clear()
        self._stopped.clear()
        self._stop_at = (write, when, call)

    def cut_watches(self) -> None:
        """Close the connection of every open watch."""
        for request in list(self._watches):
            self._loop.call_soon_threadsafe(_abort, request)

    @property
    def stopped(self) -> bool:
        """Whether the chosen write was intercepted and `call` has returned."""
        return self._stopped.is_set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        cluster = self._upstream["clusters"][0]["cluster"]
        upstream = ssl.create_default_context(cafile=cluster["certificate-authority"])
        server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._certificates.issue_cert("127.0.0.1").configure_cert(server_tls)
        no_timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(ssl=upstream, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=no_timeout, auto_decompress=False) as session:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, session, cluster["server"])

            application = web.Application(client_max_size=2**26)
            application.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=server_tls).start()
            self._ready.set()
            await self._done.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request, session: aiohttp.ClientSession, server: str) -> web.StreamResponse:
        body, stop = await request.read(), None
        if request.method in WRITES and not any(part in request.path for part in _IGNORED):
            write = f"{request.method} {request.path}"
            self.writes.append(write)
            if self._stop_at is not None and _matches(write, self._stop_at[0].split()):
                _, stop, call = self._stop_at
                self._stop_at = None
        if stop == "before":
            await self._stop(call)
            return _abort(request)
        if "watch" in request.query:
            return await self._watch(request, session, server)
        return await self._forward(request, session, server, body, call if stop == "after" else None)

    async def _watch(self, request: web.Request, session: aiohttp.ClientSession, server: str) -> web.StreamResponse:
        for part, status in self.refuse_watches.items():
            if part in request.path:
                return web.json_response({"kind": "Status", "message": f"{part} is refused"}, status=status)
        self._watches.append(request)
        try:
            return await self._forward(request, session, server)
        finally:
            self._watches.remove(request)

    async def _forward(
        self,
        request: web.Request,
        session: aiohttp.ClientSession,
        server: str,
        body: bytes = b"",
        after: Callable[[], None] | None = None,
    ) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in {"host", "connection"}}
        async with session.request(
            request.method, server + request.raw_path, data=body or None, headers=headers
        ) as response:
            if after is not None:
                await response.read()
                await self._stop(after)
                return _abort(request)
            return await _relay(request, response)

    async def _stop(self, call: Callable[[], None]) -> None:
        await asyncio.to_thread(call)
        self._stopped.set()


async def _relay(request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    kept = {
        key: value for key, value in upstream.headers.items() if key.lower() not in {"transfer-encoding", "connection"}
    }
    response = web.StreamResponse(status=upstream.status, headers=kept)
    await response.prepare(request)
    # The client may have been killed meanwhile, which is the purpose of this proxy.
    with suppress(ConnectionResetError):
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    return response


def _matches(write: str, words: list[str]) -> bool:
    return write.startswith(words[0]) and all(word in write for word in words)


def _abort(request: web.Request) -> web.StreamResponse:
    """Close the connection without a response."""
    transport: Any = request.transport
    if transport is not None:
        transport.abort()
    return web.Response(status=500)
