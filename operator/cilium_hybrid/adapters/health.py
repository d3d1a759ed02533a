"""/metrics, /healthz and /readyz over HTTP."""

import logging
import time
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from cilium_hybrid.adapters.metrics import PrometheusTelemetry, exposition

log = logging.getLogger(__name__)

STUCK_SECONDS: Final = 900.0
"""Longer than any pass takes: Helm and a pull of the chart have limits of their own."""


@dataclass(slots=True)
class Health:
    """What the probes ask for."""

    telemetry: PrometheusTelemetry
    ready: bool = False

    @property
    def alive(self) -> bool:
        """Whether no pass hangs."""
        since = self.telemetry.pass_since
        return since is None or time.monotonic() - since < STUCK_SECONDS


async def serve(health: Health, host: str, port: int) -> web.AppRunner:
    """Serve until the runner is cleaned up. A port that is taken is reported, and stops nothing."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(), content_type="text/plain", charset="utf-8")

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(health.alive, "a pass hangs")

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(health.ready, "the watches are not in step yet")

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        log.warning("no metrics and no probes: cannot listen on %s:%d: %s", host, port, error.strerror or error)
    return runner


def _verdict(verified: bool, otherwise: str) -> web.Response:
    return web.Response(text="ok" if verified else otherwise, status=200 if verified else 503)
