"""The life of a container: started, probed, restarted with a growing pause, ended."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from testbed.site.kubelet.launch import Running
from testbed.site.kubelet.probes import Probe

Object = dict[str, Any]
Launch = Callable[[], Awaitable[Running]]

RELIST: Final = 1.0
"""Seconds in which a kubelet notices that a container has exited."""
FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 300.0
PULL_PAUSE: Final = 10.0


class ImageError(RuntimeError):
    """There is no program for an image."""


@dataclass
class ContainerState:
    """What the kubelet reports of a container."""

    state: Object = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last: Object = field(default_factory=dict)
    restarts: int = 0
    started: bool = False
    ready: bool = False


class Container:
    """A container of a pod; `changed` is called when its state has changed."""

    def __init__(self, spec: Object, pod: str, grace: float, launch: Launch, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.state = ContainerState()
        self._pod = pod
        self._grace = grace
        self._launch = launch
        self._changed = changed

    async def run(self, probes: Callable[[Running], dict[str, Probe]]) -> None:
        """Run the container again and again until cancelled."""
        pause = 0.0
        while True:
            began = asyncio.get_running_loop().time()
            await self._run_once(probes)
            await asyncio.sleep(RELIST)
            if asyncio.get_running_loop().time() - began > 2 * LONGEST_PAUSE:
                pause = 0.0
            # A kubelet restarts a container at once when it has failed for the first time.
            await self._back_off(pause)
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
            self.state.restarts += 1

    async def run_to_completion(self) -> None:
        """Run an init container until it has exited with code 0."""
        pause = 0.0
        while await self._run_once(lambda _: {}) != 0:
            await asyncio.sleep(RELIST)
            await self._back_off(pause)
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
            self.state.restarts += 1
        self.state.ready = True
        self._changed()

    def skip(self) -> None:
        """Report an init container as completed without running it: what it does has been done to the machine."""
        now = _now()
        self.state.state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        self.state.ready = True

    async def _run_once(self, probes: Callable[[Running], dict[str, Probe]]) -> int:
        running = await self._start()
        started_at = _now()
        self._report({"running": {"startedAt": started_at}})
        checks = probes(running)
        if "startupProbe" not in checks:
            self._set(started=True, ready="readinessProbe" not in checks)
        prober = asyncio.create_task(self._probe(running, checks))
        try:
            code = await running.wait()
        finally:
            prober.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await prober
            await running.end(self._grace)
        ended: Object = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        ended |= {"startedAt": started_at, "finishedAt": _now()}
        if code != 0 and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            ended["message"] = running.last_words()
        self.state.started, self.state.ready = False, False
        self.state.last = {"terminated": ended}
        self._report({"terminated": ended})
        return code

    async def _start(self) -> Running:
        while True:
            try:
                return await self._launch()
            except ImageError as error:
                image = self.spec["image"]
                self._report({"waiting": {"reason": "ErrImagePull", "message": str(error)}})
                await asyncio.sleep(PULL_PAUSE)
                message = f'Back-off pulling image "{image}": ErrImagePull: {error}'
                self._report({"waiting": {"reason": "ImagePullBackOff", "message": message}})
                await asyncio.sleep(PULL_PAUSE)

    async def _back_off(self, pause: float) -> None:
        self.state.ready = False
        if pause:
            message = f"back-off {pause:.0f}s restarting failed container={self.spec['name']} pod={self._pod}"
            self._report({"waiting": {"reason": "CrashLoopBackOff", "message": message}})
            await asyncio.sleep(pause)

    async def _probe(self, running: Running, checks: dict[str, Probe]) -> None:
        if (startup := checks.get("startupProbe")) is not None:
            if not await startup.succeeds():
                await running.end(self._grace)
                return
            self._set(started=True, ready="readinessProbe" not in checks)
        async with asyncio.TaskGroup() as tasks:
            if (readiness := checks.get("readinessProbe")) is not None:
                tasks.create_task(readiness.follow(lambda ready: self._set(started=True, ready=ready)))
            if (liveness := checks.get("livenessProbe")) is not None:
                tasks.create_task(self._end_when_dead(running, liveness))

    async def _end_when_dead(self, running: Running, liveness: Probe) -> None:
        await liveness.fails()
        await running.end(self._grace)

    def _set(self, *, started: bool, ready: bool) -> None:
        if (self.state.started, self.state.ready) != (started, ready):
            self.state.started, self.state.ready = started, ready
            self._changed()

    def _report(self, state: Object) -> None:
        self.state.state = state
        self._changed()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
