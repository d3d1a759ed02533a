"""List and watch objects of one kind, and keep only the facts that the operator needs of each."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from cilium_hybrid.adapters.kube.client import JSON, ApiError, KubeClient
from cilium_hybrid.ports import ClusterUnavailableError

log = logging.getLogger(__name__)

Fact = TypeVar("Fact")

PAGE_SIZE: Final = 500
WATCH_SECONDS: Final = 590
"""How long the API server keeps a watch open; each new watch is a request."""
SILENCE_SECONDS: Final = 150.0
"""Maximum time without data before a watch counts as dead; the API server sends a bookmark about once a minute."""
FIRST_RETRY_SECONDS: Final = 0.2
MAX_RETRY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class WatchTarget:
    """A collection of the API and the selectors that limit it."""

    path: str
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    def query(self, **more: str) -> dict[str, str]:
        """Return the query of a request, without empty selectors."""
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {key: value for key, value in {**selectors, **more}.items() if value}

    def accept(self, kind: str) -> str:
        """Return the Accept header; `kind` is `List` for a list and empty for a watch."""
        if not self.metadata_only:
            return JSON
        return f"{JSON};as=PartialObjectMetadata{kind};g=meta.k8s.io;v=v1"


class Informer(Generic[Fact]):
    """Keeps one fact for each object of a target, by object name.

    `to_fact` returns the fact of an object, or None to ignore the object.
    `changed` is called after each change of a fact, and not if an object changed only in what its fact omits.
    `wait_until_served` is for a kind whose CRD may be missing; it is awaited while the API server returns 404.
    `merge` combines the previous fact of an object with its new fact, if a single version does not show everything.
    `error` says why the API server does not answer, and is empty while it does.
    """

    def __init__(
        self,
        client: KubeClient,
        target: WatchTarget,
        to_fact: Callable[[Mapping[str, Any]], Fact | None],
        changed: Callable[[], None],
        wait_until_served: Callable[[], Awaitable[None]] | None = None,
        merge: Callable[[Fact, Fact], Fact] | None = None,
    ) -> None:
        self._client, self._target, self._to_fact, self._changed = client, target, to_fact, changed
        self._wait_until_served, self._merge = wait_until_served, merge
        self._facts_changed = asyncio.Condition()
        # Held by a list until its facts are in place, and by each event of the watch: without it, a list could
        # replace the facts of events that arrived after it was read.
        self._updating = asyncio.Lock()
        self.facts: dict[str, Fact] = {}
        self.synced = asyncio.Event()
        self.error = ""

    async def run(self) -> None:
        """List and watch forever, and retry while the API server is unavailable."""
        failures = 0
        while True:
            try:
                version = await self._list()
                if failures:
                    log.info("watch of %s is re-established", self._target.path)
                failures, self.error = 0, ""
                while True:
                    version = await self._watch(version)
            except ApiError as error:
                if error.status == HTTPStatus.NOT_FOUND and self._wait_until_served is not None:
                    await self._await_kind(self._wait_until_served)
                    continue
                if error.status != HTTPStatus.GONE:
                    log.warning("cannot watch %s: %s", self._target.path, error)
                    failures += 1
            except ClusterUnavailableError as error:
                if not failures:
                    log.warning("watch of %s is interrupted: %s", self._target.path, error)
                failures, self.error = failures + 1, str(error)
            # Jitter, so that the watches do not all reconnect at once to an API server that just recovered.
            pause = min(FIRST_RETRY_SECONDS * 2**failures, MAX_RETRY_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    async def rebuild(self, to_fact: Callable[[Mapping[str, Any]], Fact | None]) -> None:
        """Replace `to_fact`, list again, and return when all facts are built by it; ApiError, ClusterUnavailableError.

        The watch waits meanwhile, and then continues where it was. Events that the list already includes are applied
        again: a fact may be outdated until the watch has caught up, as with any lagging watch.
        """
        self._to_fact = to_fact
        await self._list()

    async def wait_for(self, condition: Callable[[Mapping[str, Fact]], bool], seconds: float | None) -> bool:
        """Wait until the facts meet a condition; return False after `seconds`. None waits forever."""
        try:
            async with asyncio.timeout(seconds), self._facts_changed:
                await self._facts_changed.wait_for(lambda: condition(self.facts))
        except TimeoutError:
            return False
        return True

    async def _list(self) -> str:
        """Replace all facts by those of a fresh list, and return its resourceVersion."""
        facts: dict[str, Fact] = {}
        more = ""
        async with self._updating:
            while True:
                query = self._target.query(limit=str(PAGE_SIZE), **{"continue": more})
                page = await self._client.get(self._target.path, query, self._target.accept("List"))
                for item in page.get("items") or []:
                    fact = self._fact(item)
                    if fact is not None:
                        facts[str(item["metadata"]["name"])] = fact
                more = page["metadata"].get("continue", "")
                if not more:
                    break
            await self._replace(facts)
        return str(page["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        """Apply the events after a resourceVersion until the watch ends, and return the last resourceVersion."""
        query = self._target.query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=version,
            timeoutSeconds=str(WATCH_SECONDS),
        )
        accept = self._target.accept("")
        async with self._client.stream(self._target.path, query, accept, SILENCE_SECONDS) as events:
            async for event in events:
                item = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(int(item.get("code", HTTPStatus.GONE)), str(item.get("message")))
                version = str(item["metadata"]["resourceVersion"])
                if event["type"] != "BOOKMARK":
                    async with self._updating:
                        await self._apply_event(event["type"], item)
        return version

    async def _apply_event(self, kind: str, item: Mapping[str, Any]) -> None:
        name = str(item["metadata"]["name"])
        fact = None if kind == "DELETED" else self._fact(item)
        if self.facts.get(name) == fact:
            return
        if fact is None:
            del self.facts[name]
        else:
            self.facts[name] = fact
        await self._notify()

    def _fact(self, item: Mapping[str, Any]) -> Fact | None:
        fact, before = self._to_fact(item), self.facts.get(str(item["metadata"]["name"]))
        return fact if fact is None or before is None or self._merge is None else self._merge(before, fact)

    async def _replace(self, facts: dict[str, Fact]) -> None:
        changed = facts != self.facts or not self.synced.is_set()
        self.facts = facts
        self.synced.set()
        if changed:
            await self._notify()

    async def _notify(self) -> None:
        async with self._facts_changed:
            self._facts_changed.notify_all()
        self._changed()

    async def _await_kind(self, wait_until_served: Callable[[], Awaitable[None]]) -> None:
        await self._replace({})
        await wait_until_served()
        # A CRD exists shortly before its kind is served; this pause is the polling interval until then.
        await asyncio.sleep(FIRST_RETRY_SECONDS)
