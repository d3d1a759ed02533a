"""List and watch objects of one kind, and keep only the facts that the operator needs of each."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from cilium_hybrid.adapters.kube.client import JSON, ApiError, KubeClient
from cilium_hybrid.adapters.kube.watch_state import WatchState
from cilium_hybrid.ports import ClusterUnavailableError

log = logging.getLogger(__name__)

Fact = TypeVar("Fact")

PAGE_SIZE: Final = 500
WATCH_SECONDS: Final = 590
"""How long the API server keeps a watch open; each new watch is a request."""
FIRST_RETRY_SECONDS: Final = 0.2
MAX_RETRY_SECONDS: Final = 5.0
"""Pauses after a failed or short watch; they double."""
MAX_RELIST_SECONDS: Final = 30.0
"""Maximum pause if the list succeeded: with thousands of objects, it costs more than a refused request."""
CONFIRM_SECONDS: Final = 1.0
"""A watch that is open for this long, or delivers an event, is established."""
SHORT_SECONDS: Final = 5.0
"""A watch that ends sooner is followed by a growing pause."""
MAX_EMPTY_WATCHES: Final = 3
"""So many short watches without an event, one after another, mean that no event may arrive at all."""


@dataclass(frozen=True, slots=True)
class WatchTarget:
    """A collection of the API and the selectors that limit it."""

    path: str
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    @property
    def title(self) -> str:
        """Return the watched objects as kubectl names them, such as `nodes`, `pods (a=b)` or `secrets/x`."""
        resource = self.path.rsplit("/", 1)[-1]
        if self.fields.startswith("metadata.name="):
            return f"{resource}/{self.fields.removeprefix('metadata.name=')}"
        selectors = ", ".join(filter(None, (self.labels, self.fields)))
        return f"{resource} ({selectors})" if selectors else resource

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
    """Keeps one fact for each object of a target, by object name, or namespace and name if it has all namespaces.

    `to_fact` returns the fact of an object, or None to ignore the object.
    `changed` is called after each change of a fact, and not if an object changed only in what its fact omits.
    `wait_until_served` is for a kind whose CRD may be missing; it is awaited while the API server returns 404.
    `merge` combines the previous fact of an object with its new fact, if a single version does not show everything.
    `state` is whether the watch is lost. By default its changes are reported to `changed` too.
    `listed` is set after the first attempt to list the objects, `synced` when it has succeeded.
    """

    def __init__(
        self,
        client: KubeClient,
        target: WatchTarget,
        to_fact: Callable[[Mapping[str, Any]], Fact | None],
        changed: Callable[[], None],
        wait_until_served: Callable[[], Awaitable[None]] | None = None,
        merge: Callable[[Fact, Fact], Fact] | None = None,
        state: WatchState | None = None,
    ) -> None:
        self._client, self._target, self._to_fact, self._changed = client, target, to_fact, changed
        self._wait_until_served, self._merge = wait_until_served, merge
        self._facts_changed = asyncio.Condition()
        # Held by a list until its facts are in place, and by each event of the watch: without it, a list could
        # replace the facts of events that arrived after it was read.
        self._updating = asyncio.Lock()
        self.facts: dict[str, Fact] = {}
        self._failures, self._list_succeeded = 0, False
        self.state = state or WatchState(target.title, changed=changed)
        self.listed, self.synced = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """List and watch forever. After a failure of any kind the watch is lost until it is established again."""
        while True:
            try:
                await self._list_and_watch()
            except (ApiError, ClusterUnavailableError) as error:
                expired = isinstance(error, ApiError) and error.status == HTTPStatus.GONE
                if self.state.lose(str(error)):
                    level = logging.DEBUG if expired else logging.WARNING
                    log.log(level, "watch of %s is interrupted: %s", self._target.title, error)
            except Exception as error:
                # The message of an unknown error may contain parts of an object.
                if self.state.lose(f"error in the operator ({type(error).__name__}), see its log"):
                    log.exception("watch of %s is interrupted", self._target.title)
            self.listed.set()
            await self._pause(MAX_RELIST_SECONDS if self._list_succeeded else MAX_RETRY_SECONDS)

    async def _list_and_watch(self) -> None:
        """List and watch until that fails; return if the API server did not serve the kind, and may do so now."""
        try:
            self._list_succeeded = False
            version, short = await self._list(), False
            self._list_succeeded = True
            empty_watches = 0
            while empty_watches < MAX_EMPTY_WATCHES:
                if short:
                    await self._pause(MAX_RETRY_SECONDS)
                version, empty, short = await self._watch(version)
                empty_watches = empty_watches + 1 if short and empty else 0
            raise ClusterUnavailableError("the API server ends the watch at once")
        except ApiError as error:
            wait_until_served = self._wait_until_served
            if error.status != HTTPStatus.NOT_FOUND or wait_until_served is None:
                raise
        self.state.suspended()
        await self._replace({})
        await wait_until_served()

    async def _pause(self, limit: float) -> None:
        """Wait after a failure or a short watch, and longer each time, up to `limit` seconds."""
        self._failures += 1
        # Limited before it is raised to a power, which grows beyond any float during a long outage.
        pause = min(FIRST_RETRY_SECONDS * 2 ** min(self._failures, 10), limit)
        # Jitter, so that the watches do not all reconnect at once to an API server that just recovered.
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
                        facts[self._name(item)] = fact
                more = page["metadata"].get("continue", "")
                if not more:
                    break
            await self._replace(facts)
        return str(page["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> tuple[str, bool, bool]:
        """Apply the events after a resourceVersion until the watch ends.

        Return the last resourceVersion, whether the watch delivered nothing, and whether it was short.
        """
        query = self._target.query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=version,
            timeoutSeconds=str(WATCH_SECONDS),
        )
        accept, empty = self._target.accept(""), True
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with self._client.stream(self._target.path, query, accept, self.state.silence_seconds) as events:
            self.state.opened()
            confirmed = loop.call_later(CONFIRM_SECONDS, self._established)
            try:
                async for event in events:
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiError(int(item.get("code", HTTPStatus.GONE)), str(item.get("message")))
                    version, empty = str(item["metadata"]["resourceVersion"]), False
                    if event["type"] != "BOOKMARK":
                        async with self._updating:
                            await self._apply_event(event["type"], item)
                    self._established()
            finally:
                confirmed.cancel()
                short = loop.time() - started < SHORT_SECONDS
                if not short:
                    self._failures = 0
        return version, empty, short

    def _established(self) -> None:
        if self.state.established():
            log.info("watch of %s is re-established", self._target.title)

    async def _apply_event(self, kind: str, item: Mapping[str, Any]) -> None:
        name = self._name(item)
        fact = None if kind == "DELETED" else self._fact(item)
        if self.facts.get(name) == fact:
            return
        if fact is None:
            del self.facts[name]
        else:
            self.facts[name] = fact
        await self._notify()

    def _fact(self, item: Mapping[str, Any]) -> Fact | None:
        fact, before = self._to_fact(item), self.facts.get(self._name(item))
        return fact if fact is None or before is None or self._merge is None else self._merge(before, fact)

    def _name(self, item: Mapping[str, Any]) -> str:
        """Return the name of an object, with its namespace if the target is not of one namespace."""
        name, namespace = str(item["metadata"]["name"]), item["metadata"].get("namespace")
        return name if namespace is None or "/namespaces/" in self._target.path else f"{namespace}/{name}"

    async def _replace(self, facts: dict[str, Fact]) -> None:
        changed = facts != self.facts or not self.synced.is_set()
        self.facts = facts
        self.synced.set()
        self.listed.set()
        if changed:
            await self._notify()

    async def _notify(self) -> None:
        async with self._facts_changed:
            self._facts_changed.notify_all()
        self._changed()
