"""A proxy between the operator and the API server that can stop the world at any one write."""

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

# The Lease is written every two seconds and says nothing of how far the operator has come.
_UNCOUNTED = ("/leases", "/selfsubject")


class Interposer:
    """Passes every request on; counts the writes, and calls back before or after a chosen one.

    A write stopped `before` never reaches the API server; `after`, it is done and its answer never comes.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._upstream = yaml.safe_load(kubeconfig.read_text())
        self._folder, self._port = folder, free_port()
        self._certificates = trustme.CA()
        self._loop = asyncio.new_event_loop()
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="interposer")
        self.writes: list[str] = []
        self._stopped = threading.Event()
        self._stop_at: tuple[str, When, Callable[[], None]] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_LIMIT):
            raise TimeoutError("the interposer did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig that leads through here, with the same token."""
        path, authority = self._folder / "kubeconfig-interposed", self._folder / "interposer-ca.pem"
        self._certificates.cert_pem.write_to_path(str(authority))
        config = json.loads(json.dumps(self._upstream))
        cluster = config["clusters"][0]["cluster"]
        cluster.pop("certificate-authority-data", None)
        cluster |= {"server": f"https://127.0.0.1:{self._port}", "certificate-authority": str(authority)}
        path.write_text(yaml.safe_dump(config))
        return path

    def stop_at(self, write: str, when: When, call: Callable[[], None]) -> None:
        """Call back at the first write from now on whose method and path hold these words, in their order.

        The write then comes to nothing, or its answer is lost.
        """
        self.writes.clear()
        self._stopped.clear()
        self._stop_at = (write, when, call)

    @property
    def stopped(self) -> bool:
        """Whether the chosen write came, and the call for it ended."""
        return self._stopped.is_set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        cluster = self._upstream["clusters"][0]["cluster"]
        upstream = ssl.create_default_context(cafile=cluster["certificate-authority"])
        here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._certificates.issue_cert("127.0.0.1").configure_cert(here)
        limits = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(ssl=upstream, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=False) as session:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, session, cluster["server"])

            application = web.Application(client_max_size=2**26)
            application.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=here).start()
            self._ready.set()
            await self._over.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request, session: aiohttp.ClientSession, server: str) -> web.StreamResponse:
        body, stop = await request.read(), None
        if request.method in WRITES and not any(part in request.path for part in _UNCOUNTED):
            write = f"{request.method} {request.path}"
            self.writes.append(write)
            if self._stop_at is not None and _holds(write, self._stop_at[0].split()):
                _, stop, call = self._stop_at
                self._stop_at = None
        if stop == "before":
            await self._stop(call)
            return _cut(request)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in {"host", "connection"}}
        async with session.request(
            request.method, server + request.raw_path, data=body or None, headers=headers
        ) as answer:
            if stop == "after":
                await answer.read()
                await self._stop(call)
                return _cut(request)
            return await _relay(request, answer)

    async def _stop(self, call: Callable[[], None]) -> None:
        await asyncio.to_thread(call)
        self._stopped.set()


async def _relay(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    kept = {
        key: value for key, value in answer.headers.items() if key.lower() not in {"transfer-encoding", "connection"}
    }
    response = web.StreamResponse(status=answer.status, headers=kept)
    await response.prepare(request)
    # The one that asked may be dead by now: that is what this proxy is for.
    with suppress(ConnectionResetError):
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    return response


def _holds(write: str, words: list[str]) -> bool:
    return write.startswith(words[0]) and all(word in write for word in words)


def _cut(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    transport: Any = request.transport
    if transport is not None:
        transport.abort()
    return web.Response(status=500)
