"""When the containers of a pod run: some time after it got its node, and again and again when they crash."""

import asyncio

from testbed.cilium import status
from testbed.cilium.kube import Object, Queue

START_TAKES = 0.5
CRASH_BACKOFF = (1.0, 2.0, 4.0, 8.0)


class Starts:
    """Knows of each pod when its containers are started; the key of the queue is handled again by then."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._first_seen: dict[str, float] = {}
        self._next_crash: dict[str, float] = {}

    def started(self, pod: Object, key: str) -> bool:
        """Whether the containers had the time to start; otherwise come back when they had."""
        now = asyncio.get_running_loop().time()
        left = self._first_seen.setdefault(pod["metadata"]["uid"], now) + START_TAKES - now
        if left > 0:
            self._queue.add_after(key, left)
        return left <= 0

    def waits(self, pod: Object) -> bool:
        """Whether a crashed container is not restarted yet."""
        now = asyncio.get_running_loop().time()
        return self._next_crash.get(pod["metadata"]["uid"], now) > now

    def restarts(self, pod: Object, key: str) -> int:
        """Return how often a crashing container has been restarted by now, and come back for the next time."""
        count = status.restarts(pod)
        if self.waits(pod):
            return count
        now = asyncio.get_running_loop().time()
        backoff = CRASH_BACKOFF[min(count, len(CRASH_BACKOFF) - 1)]
        self._next_crash[pod["metadata"]["uid"]] = now + backoff
        self._queue.add_after(key, backoff)
        return count + 1
