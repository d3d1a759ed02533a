"""Kubernetes Events of the resource: written beside the passes, each tried once, and lost rather than waited for."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError
from cilium_hybrid.api.v1alpha1 import GROUP, KIND, NAME, VERSION
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.ports import ClusterUnavailableError

log = logging.getLogger(__name__)

EVENTS: Final = "/api/v1/namespaces/default/events"
"""Where Events of what is in no namespace belong."""
COMPONENT: Final = "cilium-hybrid-operator"
REPEAT_SECONDS: Final = 300.0
"""The same is not told again sooner: a node that blinks makes no flood."""
MOST_WAITING: Final = 50
LONGEST_MESSAGE: Final = 1024


class Events:
    """Tells of changes from a queue of its own. `run` is to run beside the passes; `post` is KubeClient's."""

    def __init__(self, post: Callable[[str, Mapping[str, Any]], Awaitable[Any]]) -> None:
        self._post = post
        self._waiting: asyncio.Queue[tuple[str, StatusEvent]] = asyncio.Queue(MOST_WAITING)
        self._told: dict[tuple[str, StatusEvent], float] = {}

    def tell(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Queue what is news; what was told a moment ago, or finds no room, is dropped."""
        now = time.monotonic()
        self._told = {key: at for key, at in self._told.items() if now < at + REPEAT_SECONDS}
        for one in status_events:
            key = (resource.uid, one)
            if key not in self._told and not self._waiting.full():
                self._told[key] = now
                self._waiting.put_nowait(key)

    async def run(self) -> None:
        """Write what is queued, for ever."""
        while True:
            uid, status_events = await self._waiting.get()
            try:
                await self._post(EVENTS, event(uid, status_events, datetime.now(UTC)))
            except (ApiError, ClusterUnavailableError) as error:
                log.warning("an Event is lost (%s): %s", status_events.reason, error)


def event(uid: str, status_events: StatusEvent, now: datetime) -> dict[str, Any]:
    """The Event, named as kubectl's and others' are: by the object and the moment."""
    at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{NAME}.{time.time_ns():x}", "namespace": "default"},
        "involvedObject": {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "name": NAME, "uid": uid},
        "type": "Warning" if status_events.warning else "Normal",
        "reason": str(status_events.reason),
        "message": _cut(status_events.message),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }


def _cut(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"
