"""When the containers of a pod start: some time after the pod is scheduled, and again after each crash."""

import asyncio

from testbed.cilium import status
from testbed.cilium.kube import Object, Queue

START_TAKES = 0.5
PROBED_AFTER = 1.0
CRASH_BACKOFF = (1.0, 2.0, 4.0, 8.0)


class ContainerStarts:
    """Simulates the start times of containers; a queue key is requeued for the time at which a container starts."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._first_seen: dict[str, float] = {}
        self._next_crash: dict[str, float] = {}

    def started(self, pod: Object, key: str) -> bool:
        """Whether the containers have started; if not, requeue the key for that time."""
        return self._is_over(pod, key, START_TAKES)

    def probed(self, pod: Object, key: str) -> bool:
        """Whether the containers' startup probes have run, before which no pod is ready; if not, requeue the key."""
        return self._is_over(pod, key, PROBED_AFTER)

    def _is_over(self, pod: Object, key: str, seconds: float) -> bool:
        now = asyncio.get_running_loop().time()
        remaining = self._first_seen.setdefault(pod["metadata"]["uid"], now) + seconds - now
        if remaining > 0:
            self._queue.add_after(key, remaining)
        return remaining <= 0

    def in_backoff(self, pod: Object) -> bool:
        """Whether a crashed container waits for its restart."""
        now = asyncio.get_running_loop().time()
        return self._next_crash.get(pod["metadata"]["uid"], now) > now

    def restarts(self, pod: Object, key: str) -> int:
        """Return the restart count of a crashing container, and requeue the key for its next restart."""
        count = status.restarts(pod)
        if self.in_backoff(pod):
            return count
        now = asyncio.get_running_loop().time()
        backoff = CRASH_BACKOFF[min(count, len(CRASH_BACKOFF) - 1)]
        self._next_crash[pod["metadata"]["uid"]] = now + backoff
        self._queue.add_after(key, backoff)
        return count + 1
