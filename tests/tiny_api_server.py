"""An API server in this process that has empty collections, and whose watches a test can refuse, cut or silence."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from cilium_hybrid.adapters.kube.client import KubeClient

LIMIT = 60.0


class Watches(Enum):
    """What the server does with a watch that it accepts."""

    KEEP_OPEN = auto()
    END_AT_ONCE = auto()
    END_AFTER_A_BOOKMARK = auto()
    END_LATER = auto()
    CUT = auto()


@dataclass
class TinyApiServer:
    """Answers every path.

    `refused` maps a part of a path to the status of watches of it, with `lists_too` also of lists. If the server is
    `proxied`, a proxy refuses them in its place. `requests` counts the lists and watches, `writes` are all other
    requests. `objects` are by path.
    """

    port: int = 0
    watches: Watches = Watches.KEEP_OPEN
    refused: dict[str, int] = field(default_factory=dict)
    lists_too: bool = False
    proxied: bool = False
    objects: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    writes: list[str] = field(default_factory=list)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    _open: list[web.Request] = field(default_factory=list)
    _version: int = 1

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig for this server, and return its path."""
        path = folder / "kubeconfig"
        config = {
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "x", "user": {"token": "x"}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def change(self, path: str, name: str, **labels: str) -> None:
        """Create or replace an object, without an event for a watch that is open."""
        self._version += 1
        metadata = {"name": name, "uid": name, "resourceVersion": str(self._version), "labels": labels}
        others = [found for found in self.objects.get(path, []) if found["metadata"]["name"] != name]
        self.objects[path] = [*others, {"metadata": metadata}]

    @property
    def open_watches(self) -> int:
        """How many watches are open."""
        return len(self._open)

    def cut_watches(self) -> None:
        """Close the connection of every open watch."""
        for request in list(self._open):
            if request.transport is not None:
                request.transport.abort()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, once the server is `answering`."""
        await self.answering.wait()
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
            return web.json_response({"metadata": {"name": "x", "resourceVersion": "1"}})
        if request.path in self.documents:
            return web.json_response(self.documents[request.path])
        watch = "watch" in request.query
        self.requests["watch" if watch else "list"] += 1
        if watch or self.lists_too:
            for part, status in self.refused.items():
                if part in request.path_qs:
                    if self.proxied:
                        return web.Response(text="<html>", content_type="text/html", status=status)
                    message = f"{request.path.rsplit('/', 1)[-1]} is refused with {status}"
                    return web.json_response({"kind": "Status", "message": message}, status=status)
        return await self._watch(request) if watch else self._list(request.path)

    def _list(self, path: str) -> web.Response:
        metadata = {"resourceVersion": str(self._version)}
        return web.json_response({"metadata": metadata, "items": self.objects.get(path, [])})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for item in self.objects.get(request.path, []):
            if int(item["metadata"]["resourceVersion"]) > int(request.query.get("resourceVersion") or 0):
                await response.write(_line("MODIFIED", item))
        match self.watches:
            case Watches.KEEP_OPEN:
                self._open.append(request)
                try:
                    await asyncio.Event().wait()
                finally:
                    self._open.remove(request)
            case Watches.END_AFTER_A_BOOKMARK:
                await response.write(_line("BOOKMARK", {"metadata": {"resourceVersion": str(self._version)}}))
            case Watches.END_LATER:
                await asyncio.sleep(0.1)
            case Watches.CUT:
                assert request.transport is not None
                request.transport.abort()
            case Watches.END_AT_ONCE:
                pass
        await response.write_eof()
        return response


def _line(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


@asynccontextmanager
async def tiny_api_server() -> AsyncIterator[TinyApiServer]:
    """Serve until exit."""
    server = TinyApiServer()
    server.answering.set()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        server.answering.set()
        server.cut_watches()
        await runner.cleanup()


@asynccontextmanager
async def connected(server: TinyApiServer, folder: Path) -> AsyncIterator[KubeClient]:
    """Return the operator's client for this server."""
    client = await KubeClient.connect(str(server.kubeconfig(folder)))
    try:
        yield client
    finally:
        await client.close()
