"""The operator as a process: settings, adapters, Lease and loop are joined here and nowhere else."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

from cilium_hybrid import logs
from cilium_hybrid.adapters import health
from cilium_hybrid.adapters.clock import SystemClock
from cilium_hybrid.adapters.helm.charts import HelmCharts
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.preflight import HelmPreflights
from cilium_hybrid.adapters.helm.releases import HelmReleases
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.lease import Elector
from cilium_hybrid.adapters.metrics import PrometheusTelemetry
from cilium_hybrid.handlers.resource import watch_resource
from cilium_hybrid.reconcile.context import PASS
from cilium_hybrid.reconcile.execute import Executor
from cilium_hybrid.reconcile.loop import run_passes
from cilium_hybrid.reconcile.published import Published
from cilium_hybrid.reconcile.reconciler import Reconciler
from cilium_hybrid.reconcile.wakes import Wakes
from cilium_hybrid.settings import Settings, SettingsError

log = logging.getLogger(__name__)

LOST_THE_LEASE: Final = 3
"""Exit code of an operator that may no longer act; the kubelet starts it again, to stand by."""


def run() -> int:
    """Run the operator as the environment says, and return its exit code."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"cilium-hybrid: {error}", file=sys.stderr)  # noqa: T201 # there is no log yet
        return 2
    return asyncio.run(operate(settings))


async def operate(settings: Settings) -> int:
    """Run until SIGTERM or until the Lease is lost; the exit code."""
    logs.configure(settings.log_format, PASS)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    client = await KubeClient.connect(settings.kubeconfig)
    telemetry = PrometheusTelemetry()
    state = health.Health(telemetry)
    probes = await health.serve(state, settings.metrics_host, settings.metrics_port)
    try:
        if not settings.leader_election:
            await _first(_act(settings, client, state, telemetry, lambda: True), stopping.wait())
            return 0
        elector = Elector(client, settings.namespace, settings.identity)
        # A replica that stands by is as ready as it can be.
        state.ready = True
        await _first(elector.acquire(), stopping.wait())
        if not stopping.is_set():
            await _lead(settings, client, state, telemetry, elector, stopping)
            await elector.release()
        return 0
    finally:
        await probes.cleanup()
        await client.close()


async def _lead(
    settings: Settings,
    client: KubeClient,
    state: health.Health,
    telemetry: PrometheusTelemetry,
    elector: Elector,
    stopping: asyncio.Event,
) -> None:
    """Act while the Lease is ours; the process ends where it is lost, and Helm before that."""
    state.ready = False
    telemetry.leading(leads=True)
    lost = asyncio.ensure_future(elector.lost())
    acting = _act(settings, client, state, telemetry, lambda: elector.holds, elector.renewed_before)
    await _first(acting, stopping.wait(), lost)
    if lost.done() and not lost.cancelled():
        log.error("stopping: %s", lost.result())
        logging.shutdown()
        # No more than this: another acts, and whatever is left to tidy here is not worth a moment beside it.
        os._exit(LOST_THE_LEASE)


async def _act(
    settings: Settings,
    client: KubeClient,
    state: health.Health,
    telemetry: PrometheusTelemetry,
    may_act: Callable[[], bool],
    looked_before: datetime | None = None,
) -> None:
    """Watch, and run passes; returns when kopf takes a signal. `looked_before`: when another was last known to lead."""
    wakes, clock = Wakes(), SystemClock()
    cluster = KubeCluster(client, wakes.ring)
    command = HelmCommand(settings.helm, settings.cache / "helm", telemetry.called_helm)
    charts = HelmCharts(command, settings.cache, await client.server_version())
    releases = HelmReleases(command, client, cluster.revisions, may_act)
    preflights = HelmPreflights(command, client, cluster.preflight, may_act)
    published = Published(charts, wakes.ring)
    reconciler = Reconciler(
        cluster,
        Executor(charts, releases, preflights, cluster, clock),
        clock,
        telemetry,
        settings.chart_registries,
        settings.node_name,
        looked_before,
        published.of,
    )

    async def passes() -> None:
        await cluster.synced()
        state.ready = True
        log.info("every watch is in step")
        await run_passes(reconciler, wakes, clock, telemetry, settings.resync_seconds)

    async def resource() -> None:
        while True:
            await cluster.defined()
            try:
                return await watch_resource(wakes.ring, settings.kubeconfig is None)
            except Exception:
                # kopf gives up when the definition goes; it comes again when deploy/ is applied again.
                if not await cluster.undefined():
                    raise
            log.warning("the definition of CiliumHybrid is gone: waiting for it")

    await _first(passes(), resource(), published.run(), *cluster.watches())


async def _first(*parts: Awaitable[Any]) -> None:
    """Run side by side until one ends, end the others, and raise what went wrong in any."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unfinished = [task for task in tasks if not task.done()]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
