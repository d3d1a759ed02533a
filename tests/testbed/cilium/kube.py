"""An asynchronous client of the Kubernetes API that survives an API server that goes away."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

Object = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
NOT_FOUND = 404
CONFLICT = 409
RETRY = 0.2
PAGE = 500

log = logging.getLogger(__name__)


class Refused(RuntimeError):  # noqa: N818 - an answer, not a fault
    """The API server's answer was an error other than "not found"."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


# Whatever a request or a watch can meet while the API server is away or the object has changed meanwhile.
PASSING = (Refused, aiohttp.ClientError, OSError, TimeoutError, ValueError)


@dataclass
class Watched:
    """The objects of one list by name, kept up to date."""

    changed: Callable[[str], None]
    objects: dict[str, Object] = field(default_factory=dict)

    def put(self, thing: Object) -> None:
        """Note the state of an object, unless a newer one is known: answers overtake the watch."""
        name = thing["metadata"]["name"]
        known = self.objects.get(name)
        if known is not None and _version(known) > _version(thing):
            return
        self.objects[name] = thing
        self.changed(name)

    def put_answer(self, thing: Object | None) -> None:
        """Take over the answer to a write without waiting for the watch; None was not found."""
        # An object that the watch has dropped must not come back by a late answer.
        if thing is not None and thing["metadata"]["name"] in self.objects:
            self.put(thing)

    def drop(self, name: str) -> None:
        """Note that an object is gone."""
        self.objects.pop(name, None)
        self.changed(name)


class Kube:
    """A session with one API server as one user."""

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls, config: Object) -> AsyncIterator[Self]:
        """Yield a session with a kubeconfig's first cluster and user; nothing is asked of it yet."""
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        headers = {"Authorization": f"Bearer {user['token']}", "User-Agent": "testbed-cilium"}
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls), headers=headers, read_bufsize=1 << 20
        ) as session:
            yield cls(cluster["server"], session)

    async def request(self, verb: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """Return the answer, or None for "not found"; raise `Refused` or what aiohttp raises."""
        async with self._session.request(
            verb,
            self._server + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            timeout=aiohttp.ClientTimeout(total=15),
        ) as answer:
            if answer.status == NOT_FOUND:
                return None
            if not answer.ok:
                raise Refused(answer.status, await answer.text())
            return await answer.json()

    async def follow(
        self, path: str, watched: Watched, *, labels: str = "", served: asyncio.Event | None = None
    ) -> None:
        """Keep `watched` up to date for ever; `served` is awaited whenever the resource does not exist."""
        while True:
            try:
                if served is not None:
                    await served.wait()
                version = await self._list(path, watched, labels)
                if version is None and served is not None:
                    served.clear()
                elif version is not None:
                    await self._watch(path, watched, labels, version)
            except PASSING as error:
                log.info("%s: %r", path, error)
            await asyncio.sleep(RETRY)

    async def _list(self, path: str, watched: Watched, labels: str) -> str | None:
        found: set[str] = set()
        token = ""
        while True:
            page = await self.request("GET", f"{path}?limit={PAGE}&labelSelector={labels}&continue={token}")
            if page is None:
                return None
            for thing in page["items"]:
                found.add(thing["metadata"]["name"])
                watched.put(thing)
            token = page["metadata"].get("continue", "")
            if not token:
                break
        for name in watched.objects.keys() - found:
            watched.drop(name)
        version: str = page["metadata"]["resourceVersion"]
        return version

    async def _watch(self, path: str, watched: Watched, labels: str, version: str) -> None:
        query = f"{path}?watch=true&labelSelector={labels}&resourceVersion={version}"
        async with self._session.get(
            self._server + query, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
        ) as stream:
            if not stream.ok:
                raise Refused(stream.status, await stream.text())
            async for line in stream.content:
                event = json.loads(line)
                match event["type"]:
                    case "ADDED" | "MODIFIED":
                        watched.put(event["object"])
                    case "DELETED":
                        watched.drop(event["object"]["metadata"]["name"])
                    case _:
                        # The version is too old to go on from: list again.
                        return


class Queue:
    """Keys to handle: each once at a time, again when added meanwhile, and later when handling failed."""

    def __init__(self, handle: Callable[[str], Awaitable[None]]) -> None:
        self._handle = handle
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._busy: set[str] = set()

    def add(self, key: str) -> None:
        """Have a key handled soon."""
        if key not in self._waiting:
            self._waiting.add(key)
            if key not in self._busy:
                self._keys.put_nowait(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Have a key handled in some time."""
        asyncio.get_running_loop().call_later(seconds, self.add, key)

    async def work(self) -> None:
        """Handle keys for ever; several of these may run side by side."""
        while True:
            key = await self._keys.get()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                await self._handle(key)
            except PASSING as error:
                log.info("%s: %r", key, error)
                self.add_after(key, RETRY)
            finally:
                self._busy.discard(key)
                if key in self._waiting:
                    self._keys.put_nowait(key)


def _version(thing: Object) -> int:
    return int(thing["metadata"]["resourceVersion"])
