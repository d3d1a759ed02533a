"""An asynchronous Kubernetes client whose watches survive an outage of the API server."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

import aiohttp

Object = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
RETRY = 0.2
PAGE = 500

log = logging.getLogger(__name__)


class RequestError(RuntimeError):
    """The API server answered with an error other than 404."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


# The errors of a request or a watch while the API server is down, or if the object has changed in the meantime.
TRANSIENT_ERRORS = (RequestError, aiohttp.ClientError, OSError, TimeoutError, ValueError)


@dataclass
class Store:
    """The objects of one collection by name, kept up to date by a watch."""

    changed: Callable[[str], None]
    objects: dict[str, Object] = field(default_factory=dict)

    def put(self, item: Object) -> None:
        """Store an object unless a newer version is stored: a response can arrive before the watch event."""
        name = item["metadata"]["name"]
        known = self.objects.get(name)
        if known is not None and _version(known) > _version(item):
            return
        self.objects[name] = item
        self.changed(name)

    def put_response(self, item: Object | None) -> None:
        """Store the response to a write without waiting for the watch; None if the object was not found."""
        # A late response must not bring back an object that the watch has removed.
        if item is not None and item["metadata"]["name"] in self.objects:
            self.put(item)

    def remove(self, name: str) -> None:
        """Remove a deleted object."""
        self.objects.pop(name, None)
        self.changed(name)


class KubeClient:
    """Requests and watches of one user at one API server."""

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls, config: Object) -> AsyncIterator[Self]:
        """Yield a client for the first cluster and user of a kubeconfig; it sends no request yet."""
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        headers = {"Authorization": f"Bearer {user['token']}", "User-Agent": "testbed-cilium"}
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls), headers=headers, read_bufsize=1 << 20
        ) as session:
            yield cls(cluster["server"], session)

    async def request(self, verb: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """Return the parsed response, None for 404; raise `RequestError` or an error of aiohttp."""
        async with self._session.request(
            verb,
            self._server + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            timeout=aiohttp.ClientTimeout(total=15),
        ) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return None
            if not response.ok:
                raise RequestError(response.status, await response.text())
            return await response.json()

    async def follow(
        self, path: str, store: Store, *, labels: str = "", fields: str = "", served: asyncio.Event | None = None
    ) -> None:
        """Keep `store` up to date until cancelled; wait for `served` whenever the resource does not exist."""
        selectors = f"labelSelector={quote(labels)}&fieldSelector={quote(fields)}"
        while True:
            try:
                if served is not None:
                    await served.wait()
                version = await self._list(path, store, selectors)
                if version is None and served is not None:
                    served.clear()
                elif version is not None:
                    await self._watch(path, store, selectors, version)
            except TRANSIENT_ERRORS as error:
                log.info("%s: %r", path, error)
            await asyncio.sleep(RETRY)

    async def _list(self, path: str, store: Store, selectors: str) -> str | None:
        found: set[str] = set()
        token = ""
        while True:
            page = await self.request("GET", f"{path}?limit={PAGE}&{selectors}&continue={token}")
            if page is None:
                return None
            for item in page["items"]:
                found.add(item["metadata"]["name"])
                store.put(item)
            token = page["metadata"].get("continue", "")
            if not token:
                break
        for name in store.objects.keys() - found:
            store.remove(name)
        version: str = page["metadata"]["resourceVersion"]
        return version

    async def _watch(self, path: str, store: Store, selectors: str, version: str) -> None:
        query = f"{path}?watch=true&{selectors}&resourceVersion={version}"
        async with self._session.get(
            self._server + query, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
        ) as stream:
            if not stream.ok:
                raise RequestError(stream.status, await stream.text())
            async for line in stream.content:
                event = json.loads(line)
                match event["type"]:
                    case "ADDED" | "MODIFIED":
                        store.put(event["object"])
                    case "DELETED":
                        store.remove(event["object"]["metadata"]["name"])
                    case _:
                        # The resourceVersion is too old to continue from: list again.
                        return


class Queue:
    """A work queue: one worker at a time handles a key, again if it was added meanwhile, and later if that failed."""

    def __init__(self, handle: Callable[[str], Awaitable[None]]) -> None:
        self._handle = handle
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._busy: set[str] = set()

    def add(self, key: str) -> None:
        """Add a key to the queue."""
        if key not in self._waiting:
            self._waiting.add(key)
            if key not in self._busy:
                self._keys.put_nowait(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Add a key to the queue after a delay."""
        asyncio.get_running_loop().call_later(seconds, self.add, key)

    async def work(self) -> None:
        """Handle keys until cancelled; several workers may run concurrently."""
        while True:
            key = await self._keys.get()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                await self._handle(key)
            except TRANSIENT_ERRORS as error:
                log.info("%s: %r", key, error)
                self.add_after(key, RETRY)
            finally:
                self._busy.discard(key)
                if key in self._waiting:
                    self._keys.put_nowait(key)


def _version(item: Object) -> int:
    return int(item["metadata"]["resourceVersion"])
