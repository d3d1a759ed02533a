"""The operator as a process: settings, adapters, Lease and loop are joined here and nowhere else."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

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
from cilium_hybrid.handlers.resource import NotServedError, watch_resource
from cilium_hybrid.reconcile.chart_versions import ChartVersions
from cilium_hybrid.reconcile.context import LOG_CONTEXT
from cilium_hybrid.reconcile.drift import DriftWatch
from cilium_hybrid.reconcile.execute import Executor
from cilium_hybrid.reconcile.loop import run_reconciliations
from cilium_hybrid.reconcile.reconciler import Reconciler
from cilium_hybrid.reconcile.wakes import Wakes
from cilium_hybrid.settings import Settings, SettingsError
from cilium_hybrid.tasks import first

log = logging.getLogger(__name__)

LOST_THE_LEASE: Final = 3
"""Exit code of an operator that may no longer act; the kubelet starts it again, to stand by."""
LARGE_BLOCK: Final = 128 * 1024
"""In bytes: what glibc begins with."""
_M_MMAP_THRESHOLD: Final = -3
UNTIL_SERVED: Final = 0.5
LONGEST_UNTIL_SERVED: Final = 30.0
"""Seconds between two looks for a resource whose definition has just come, or is just going; they grow."""


def run() -> int:
    """Run the operator as the environment says, and return its exit code."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"cilium-hybrid: {error}", file=sys.stderr)  # noqa: T201 # there is no log yet
        return 2
    _give_back_memory()
    return asyncio.run(operate(settings))


def _give_back_memory() -> None:
    """Have large blocks go back to the system as soon as they are free.

    glibc keeps them once one was freed (mallopt(3), M_MMAP_THRESHOLD): Helm's record of Cilium's chart, 2 MB of JSON
    that is read now and then, would hold 7 MB for good.
    """
    with suppress(AttributeError, OSError):  # another C library has no such setting
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)


async def operate(settings: Settings) -> int:
    """Run until SIGTERM or until the Lease is lost; the exit code."""
    logs.configure(settings.log_format, LOG_CONTEXT)
    stopping = asyncio.Event()
    _take_signals(stopping)
    client = await KubeClient.connect(settings.kubeconfig)
    telemetry = PrometheusTelemetry()
    state = health.Health(telemetry)
    probes = await health.serve(state, settings.metrics_host, settings.metrics_port)
    try:
        if not settings.leader_election:
            await first(_act(settings, client, state, telemetry, stopping, lambda: True), stopping.wait())
            return 0
        elector = Elector(client, settings.namespace, settings.identity)
        # A replica that stands by is as ready as it can be.
        state.ready = True
        await first(elector.acquire(), stopping.wait())
        if not stopping.is_set():
            await _lead(settings, client, state, telemetry, elector, stopping)
            await elector.release()
        return 0
    finally:
        await probes.cleanup()
        await client.close()


def _take_signals(stopping: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT end the process in order."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)


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
    acting = _act(settings, client, state, telemetry, stopping, lambda: elector.holds, elector.renewed_before)
    await first(acting, stopping.wait(), lost)
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
    stopping: asyncio.Event,
    may_act: Callable[[], bool],
    looked_before: datetime | None = None,
) -> None:
    """Watch, and run passes, until cancelled. `looked_before`: when another was last known to lead."""
    wakes, clock = Wakes(), SystemClock()
    cluster = KubeCluster(client, wakes.ring)
    command = HelmCommand(settings.helm, settings.cache / "helm", telemetry.called_helm)
    charts = HelmCharts(command, settings.cache, await client.server_version())
    releases = HelmReleases(command, client, cluster.revisions, may_act)
    preflights = HelmPreflights(command, client, cluster.preflight, may_act)
    chart_versions = ChartVersions(charts, wakes.ring)
    drift = DriftWatch(releases, cluster, wakes.ring, settings.resync_seconds)
    reconciler = Reconciler(
        cluster,
        Executor(charts, releases, preflights, cluster, clock),
        clock,
        telemetry,
        settings.chart_registries,
        settings.node_name,
        looked_before,
        chart_versions.of,
        drift.of,
    )

    async def passes() -> None:
        await cluster.synced()
        state.ready = True
        log.info("every watch is in step")
        await run_reconciliations(reconciler, wakes, clock, telemetry, settings.resync_seconds)

    async def resource() -> None:
        pause = UNTIL_SERVED
        while True:
            if not await cluster.defined():
                pause = UNTIL_SERVED
            try:
                await watch_resource(wakes.ring, settings.kubeconfig is None, partial(_take_signals, stopping))
            except NotServedError:
                # A definition that is there is served by each API server in its own time.
                log.warning("the API server does not serve CiliumHybrid: looking again in %g s", pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_UNTIL_SERVED)
            except Exception:
                if not await cluster.undefined():
                    raise

    await first(passes(), resource(), chart_versions.run(), drift.run(), *cluster.watches())
