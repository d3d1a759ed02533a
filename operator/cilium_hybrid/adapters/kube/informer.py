"""An index of objects of one kind, kept by list and watch, holding only what is needed of each."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from cilium_hybrid.adapters.kube.client import JSON, ApiError, KubeClient
from cilium_hybrid.ports import ClusterUnavailableError

log = logging.getLogger(__name__)

Fact = TypeVar("Fact")

PAGE: Final = 500
WATCH_SECONDS: Final = 590
"""How long the server keeps a watch; each new one is a request."""
SILENCE_SECONDS: Final = 150.0
"""A watch silent for so long is dead: the server sends a bookmark about once a minute."""
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0
NOT_FOUND: Final = 404
CONFLICT: Final = 409
GONE: Final = 410


@dataclass(frozen=True, slots=True)
class WatchTarget:
    """What is watched: a path of the API and the selectors on it."""

    path: str
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    def query(self, **more: str) -> dict[str, str]:
        """The query of a call, without empty selectors."""
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {key: value for key, value in {**selectors, **more}.items() if value}

    def accept(self, kind: str) -> str:
        """The form to ask for; `kind` is `List` for a list and empty for a watch."""
        if not self.metadata_only:
            return JSON
        return f"{JSON};as=PartialObjectMetadata{kind};g=meta.k8s.io;v=v1"


class Informer(Generic[Fact]):
    """Facts by object name. `trim` makes the fact of an object, or None of one that is of no interest.

    `changed` is called after each change of a fact, and not when an object changed in what is not kept.
    `appears` is for a kind whose definition may be missing: it is waited for where the path is not found.
    `after` makes it of the fact before and of the one that follows it, where the object was seen before.
    `lost` says why nothing is heard of the API server, and is empty while it answers.
    """

    def __init__(
        self,
        client: KubeClient,
        source: WatchTarget,
        trim: Callable[[Mapping[str, Any]], Fact | None],
        changed: Callable[[], None],
        appears: Callable[[], Awaitable[None]] | None = None,
        after: Callable[[Fact, Fact], Fact] | None = None,
    ) -> None:
        self._client, self._source, self._trim, self._changed = client, source, trim, changed
        self._appears, self._after = appears, after
        self._beat = asyncio.Condition()
        self.facts: dict[str, Fact] = {}
        self.synced = asyncio.Event()
        self.lost = ""

    async def run(self) -> None:
        """List and watch for ever; an API server that goes away is waited for."""
        failures = 0
        while True:
            try:
                version = await self._list()
                if failures:
                    log.info("watching %s again", self._source.path)
                failures, self.lost = 0, ""
                while True:
                    version = await self._watch(version)
            except ApiError as error:
                if error.status == NOT_FOUND and self._appears is not None:
                    await self._wait_for_the_kind(self._appears)
                    continue
                if error.status != GONE:
                    log.warning("cannot watch %s: %s", self._source.path, error)
                    failures += 1
            except ClusterUnavailableError as error:
                if not failures:
                    log.warning("lost the watch of %s: %s", self._source.path, error)
                failures, self.lost = failures + 1, str(error)
            # Spread, so that the watches do not return to a weak API server all at once.
            await asyncio.sleep(min(FIRST_PAUSE * 2**failures, LONGEST_PAUSE) * random.uniform(0.5, 1.0))  # noqa: S311

    async def until(self, condition: Callable[[Mapping[str, Fact]], bool], seconds: float | None) -> bool:
        """Wait until the facts meet a condition; False where they do not within `seconds`, None is for ever."""
        try:
            async with asyncio.timeout(seconds), self._beat:
                await self._beat.wait_for(lambda: condition(self.facts))
        except TimeoutError:
            return False
        return True

    async def _list(self) -> str:
        facts: dict[str, Fact] = {}
        more = ""
        while True:
            query = self._source.query(limit=str(PAGE), **{"continue": more})
            page = await self._client.get(self._source.path, query, self._source.accept("List"))
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
        query = self._source.query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=version,
            timeoutSeconds=str(WATCH_SECONDS),
        )
        accept = self._source.accept("")
        async with self._client.stream(self._source.path, query, accept, SILENCE_SECONDS) as events:
            async for event in events:
                item = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(int(item.get("code", GONE)), str(item.get("message")))
                version = str(item["metadata"]["resourceVersion"])
                if event["type"] != "BOOKMARK":
                    await self._event(event["type"], item)
        return version

    async def _event(self, kind: str, item: Mapping[str, Any]) -> None:
        name = str(item["metadata"]["name"])
        fact = None if kind == "DELETED" else self._fact(item)
        if self.facts.get(name) == fact:
            return
        if fact is None:
            del self.facts[name]
        else:
            self.facts[name] = fact
        await self._tell()

    def _fact(self, item: Mapping[str, Any]) -> Fact | None:
        fact, before = self._trim(item), self.facts.get(str(item["metadata"]["name"]))
        return fact if fact is None or before is None or self._after is None else self._after(before, fact)

    async def _replace(self, facts: dict[str, Fact]) -> None:
        changed = facts != self.facts or not self.synced.is_set()
        self.facts = facts
        self.synced.set()
        if changed:
            await self._tell()

    async def _tell(self) -> None:
        async with self._beat:
            self._beat.notify_all()
        self._changed()

    async def _wait_for_the_kind(self, appears: Callable[[], Awaitable[None]]) -> None:
        await self._replace({})
        await appears()
        # The definition is there before it is served; the pause is the poll of that short moment.
        await asyncio.sleep(FIRST_PAUSE)
