"""HTTP server for /metrics, /healthz and /readyz."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web

from cilium_hybrid.adapters.kube.watch_state import GRACE_SECONDS, WatchState
from cilium_hybrid.adapters.metrics import PrometheusTelemetry, exposition

log = logging.getLogger(__name__)

RECONCILE_TIMEOUT_SECONDS: Final = 900.0
"""Longer than any reconciliation takes: Helm commands and chart pulls have their own, shorter timeouts."""


@dataclass(slots=True)
class Health:
    """The state that the liveness and readiness probes report.

    `ready`: a standby replica stands by, or the watches of the leader have synced once.
    """

    telemetry: PrometheusTelemetry
    ready: bool = False

    @property
    def alive(self) -> bool:
        """Whether no reconciliation is hanging."""
        started_at = self.telemetry.reconcile_started_at
        return started_at is None or time.monotonic() - started_at < RECONCILE_TIMEOUT_SECONDS

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this replica is not ready, a clause each; it still reconciles, but not as it should."""
        syncing = () if self.ready else ("watches have not synced yet",)
        status = self.telemetry.status_problem
        return (*syncing, *self._lost(required=True), *((status,) if status else ()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong without an effect on decisions, a clause each."""
        return self._lost(required=False)

    def _lost(self, *, required: bool) -> tuple[str, ...]:
        lost = [state for state in self.telemetry.watches if state.lost_for >= GRACE_SECONDS]
        return tuple(_since(state) for state in lost if state.required is required)


async def serve(health: Health, host: str, port: int) -> web.AppRunner:
    """Serve until the returned runner is cleaned up.

    If the port is in use, log a warning and continue without metrics and probes.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(), content_type="text/plain", charset="utf-8")

    async def healthz(_: web.Request) -> web.Response:
        problem = f"reconciliation has been running for more than {RECONCILE_TIMEOUT_SECONDS:.0f}s"
        return _probe(() if health.alive else (problem,))

    async def readyz(_: web.Request) -> web.Response:
        return _probe(health.problems, health.warnings)

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        log.warning("metrics and probes are disabled: cannot listen on %s:%d: %s", host, port, error.strerror or error)
    return runner


def _since(state: WatchState) -> str:
    return f"{state} (for {state.lost_for:.0f} s)"


def _probe(problems: Sequence[str], warnings: Sequence[str] = ()) -> web.Response:
    """Return one line for each problem and warning; only a problem makes the probe fail."""
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return web.Response(text="\n".join((*(problems or ("ok",)), *warnings)), status=status)
