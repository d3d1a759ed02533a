"""Kubernetes Events of the resource, written in the background: each is tried once, and dropped if that fails."""

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
"""Events of cluster-scoped objects belong in namespace `default`."""
COMPONENT: Final = "cilium-hybrid-operator"
REPEAT_SECONDS: Final = 300.0
"""Minimum time between two identical Events, so that a flapping node does not flood the namespace."""
MAX_QUEUED: Final = 50
MAX_MESSAGE_LENGTH: Final = 1024
"""The API server rejects longer messages."""


class EventRecorder:
    """Queues Events and writes them with `post`, which is KubeClient's. `run` must run concurrently."""

    def __init__(self, post: Callable[[str, Mapping[str, Any]], Awaitable[Any]]) -> None:
        self._post = post
        self._queue: asyncio.Queue[tuple[str, StatusEvent]] = asyncio.Queue(MAX_QUEUED)
        self._recorded: dict[tuple[str, StatusEvent], float] = {}

    def record(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Queue Events; those recorded within the last REPEAT_SECONDS, or for which the queue is full, are dropped."""
        now = time.monotonic()
        self._recorded = {key: at for key, at in self._recorded.items() if now < at + REPEAT_SECONDS}
        for status_event in status_events:
            key = (resource.uid, status_event)
            if key not in self._recorded and not self._queue.full():
                self._recorded[key] = now
                self._queue.put_nowait(key)

    async def run(self) -> None:
        """Write queued Events, forever."""
        while True:
            uid, status_event = await self._queue.get()
            try:
                await self._post(EVENTS, to_event(uid, status_event, datetime.now(UTC)))
            except (ApiError, ClusterUnavailableError) as error:
                log.warning("cannot record Event %s: %s", status_event.reason, error)
            except Exception:
                # An Event is only a report, so an error here must not end the operator.
                log.exception("cannot record Event %s", status_event.reason)


def to_event(uid: str, status_event: StatusEvent, now: datetime) -> dict[str, Any]:
    """Return the Event, named after its object and a timestamp as by client-go."""
    at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{NAME}.{time.time_ns():x}", "namespace": "default"},
        "involvedObject": {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "name": NAME, "uid": uid},
        "type": "Warning" if status_event.warning else "Normal",
        "reason": str(status_event.reason),
        "message": _truncate(status_event.message),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }


def _truncate(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[: MAX_MESSAGE_LENGTH - 1]}…"
