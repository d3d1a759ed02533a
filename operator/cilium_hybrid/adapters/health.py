"""HTTP server for /metrics, /healthz and /readyz."""

import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web

from cilium_hybrid.adapters.metrics import PrometheusTelemetry, exposition

log = logging.getLogger(__name__)

RECONCILE_TIMEOUT_SECONDS: Final = 900.0
"""Longer than any reconciliation takes: Helm commands and chart pulls have their own, shorter timeouts."""


@dataclass(slots=True)
class Health:
    """The state that the liveness and readiness probes report."""

    telemetry: PrometheusTelemetry
    ready: bool = False

    @property
    def alive(self) -> bool:
        """Whether no reconciliation is hanging."""
        started_at = self.telemetry.reconcile_started_at
        return started_at is None or time.monotonic() - started_at < RECONCILE_TIMEOUT_SECONDS


async def serve(health: Health, host: str, port: int) -> web.AppRunner:
    """Serve until the returned runner is cleaned up.

    If the port is in use, log a warning and continue without metrics and probes.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(), content_type="text/plain", charset="utf-8")

    async def healthz(_: web.Request) -> web.Response:
        return _probe(health.alive, f"reconciliation has been running for more than {RECONCILE_TIMEOUT_SECONDS:.0f}s")

    async def readyz(_: web.Request) -> web.Response:
        return _probe(health.ready, "watches have not synced yet")

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        log.warning("metrics and probes are disabled: cannot listen on %s:%d: %s", host, port, error.strerror or error)
    return runner


def _probe(succeeded: bool, failure_message: str) -> web.Response:
    if succeeded:
        return web.Response(text="ok")
    return web.Response(text=failure_message, status=HTTPStatus.SERVICE_UNAVAILABLE)
