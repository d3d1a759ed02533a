"""The operator process: the only place that connects settings, adapters, leader election and the reconcile loop."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
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
from cilium_hybrid.adapters.kube.lease import LEASE_SECONDS, LeaderElector
from cilium_hybrid.adapters.metrics import PrometheusTelemetry
from cilium_hybrid.handlers.resource import NotServedError, new_watch_state, watch_resource
from cilium_hybrid.ports import Telemetry
from cilium_hybrid.reconcile.chart_versions import ChartVersions
from cilium_hybrid.reconcile.context import LOG_CONTEXT
from cilium_hybrid.reconcile.drift import DriftDetector
from cilium_hybrid.reconcile.execute import Executor
from cilium_hybrid.reconcile.loop import run_reconcile_loop
from cilium_hybrid.reconcile.reconciler import Reconciler
from cilium_hybrid.reconcile.trigger import Trigger
from cilium_hybrid.settings import Settings, SettingsError
from cilium_hybrid.tasks import run_supervised, run_until_first_completed

log = logging.getLogger(__name__)

EXIT_LEASE_LOST: Final = 3
"""Exit code of a leader that lost the Lease; the kubelet restarts it, and it stands by."""
MMAP_THRESHOLD: Final = 128 * 1024
"""In bytes; glibc's initial value."""
_M_MMAP_THRESHOLD: Final = -3
SYNC_REPORT_SECONDS: Final = 10.0
"""How often it is recorded which watches have not listed their objects yet."""
MAX_REPORTED: Final = 3
FIRST_RETRY_SECONDS: Final = 0.5
MAX_RETRY_SECONDS: Final = 30.0
"""Pauses between attempts to watch the resource with kopf; they double."""


def run() -> int:
    """Run the operator with the settings of the environment, and return its exit code."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"cilium-hybrid: {error}", file=sys.stderr)  # noqa: T201 # logging is not configured yet
        return 2
    _return_large_blocks()
    return asyncio.run(operate(settings))


def _return_large_blocks() -> None:
    """Make glibc return large blocks to the system as soon as they are freed.

    By default glibc raises the threshold when a large block is freed (mallopt(3), M_MMAP_THRESHOLD). The payload of
    Helm's Secret, 2 MB of JSON that is read now and then, would then hold 7 MB permanently.
    """
    with suppress(AttributeError, OSError):  # other C libraries lack this setting
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)


async def operate(settings: Settings) -> int:
    """Run until SIGTERM or until the Lease is lost; return the exit code."""
    logs.configure(settings.log_format, LOG_CONTEXT)
    stopping = asyncio.Event()
    _handle_signals(stopping)
    client = await KubeClient.connect(settings.kubeconfig)
    telemetry = PrometheusTelemetry()
    state = health.Health(telemetry)
    server = await health.serve(state, settings.metrics_host, settings.metrics_port)
    try:
        if not settings.leader_election:
            operator = _run_operator(settings, client, state, telemetry, stopping, lambda: True)
            await run_until_first_completed(operator, stopping.wait())
            return 0
        elector = LeaderElector(client, settings.namespace, settings.identity)
        # A replica that stands by is as ready as it can be.
        state.ready = True
        await run_until_first_completed(elector.acquire(), stopping.wait())
        if not stopping.is_set():
            await _lead(settings, client, state, telemetry, elector, stopping)
            await elector.release()
        return 0
    finally:
        await server.cleanup()
        await client.close()


def _handle_signals(stopping: asyncio.Event) -> None:
    """Shut down gracefully on SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)


async def _lead(
    settings: Settings,
    client: KubeClient,
    state: health.Health,
    telemetry: PrometheusTelemetry,
    elector: LeaderElector,
    stopping: asyncio.Event,
) -> None:
    """Run the operator while this process is the leader. If the Lease is lost, stop Helm and exit the process."""
    state.ready = False
    telemetry.set_leader(leader=True)
    lost = asyncio.ensure_future(elector.wait_until_lost())
    # A Helm that another replica started before it lost the Lease may still be running.
    unlock_after = 0.0 if elector.held_before else float(LEASE_SECONDS)
    operator = _run_operator(settings, client, state, telemetry, stopping, lambda: elector.is_leader, unlock_after)
    await run_until_first_completed(operator, stopping.wait(), lost)
    if lost.done() and not lost.cancelled():
        log.error("exiting: %s", lost.result())
        logging.shutdown()
        # Exit without any cleanup: another replica may act already.
        os._exit(EXIT_LEASE_LOST)


async def _run_operator(
    settings: Settings,
    client: KubeClient,
    state: health.Health,
    telemetry: PrometheusTelemetry,
    stopping: asyncio.Event,
    may_act: Callable[[], bool],
    unlock_after: float = 0.0,
) -> None:
    """Watch and reconcile until cancelled. `unlock_after` is explained in Reconciler."""
    trigger, clock = Trigger(), SystemClock()
    cluster, kopf_watch = KubeCluster(client, trigger.set, may_act), new_watch_state()
    telemetry.watches = [*cluster.watch_states(), kopf_watch]
    command = HelmCommand(settings.helm, settings.cache / "helm", telemetry.helm_finished)
    # Its clients ask for the version while the event loop waits, and the Lease has to be renewed meanwhile.
    await asyncio.to_thread(command.client_version)
    charts = HelmCharts(command, settings.cache)
    releases = HelmReleases(command, client, cluster.revisions, may_act, settings.cache)
    preflights = HelmPreflights(command, client, cluster.preflight, may_act)
    chart_versions = ChartVersions(charts, trigger.set)
    drift = DriftDetector(releases, cluster, trigger.set, settings.resync_seconds)
    reconciler = Reconciler(
        cluster,
        releases,
        Executor(charts, releases, preflights, cluster, clock),
        clock,
        telemetry,
        settings.chart_registries,
        settings.node_name,
        chart_versions.of,
        drift.of,
        unlock_after,
    )

    async def reconcile() -> None:
        await wait_until_synced(cluster, telemetry)
        state.ready = True
        log.info("watches synced")
        await run_reconcile_loop(reconciler, trigger, clock, telemetry, settings.resync_seconds)

    async def watch() -> None:
        pause = FIRST_RETRY_SECONDS
        in_cluster, restore_signal_handlers = settings.kubeconfig is None, partial(_handle_signals, stopping)
        loop = asyncio.get_running_loop()
        while True:
            if not await cluster.wait_for_crd():
                pause = FIRST_RETRY_SECONDS
            started = loop.time()
            try:
                await watch_resource(trigger.set, in_cluster, restore_signal_handlers, kopf_watch)
            except NotServedError:
                # After a CRD is created, each API server replica starts to serve it at another time.
                log.warning("the API server does not serve CiliumHybrid; retrying in %g s", pause)
            except Exception as error:
                if await cluster.is_crd_deleted():
                    kopf_watch.suspended()
                    continue
                log.exception("kopf's watch of CiliumHybrid failed; starting it again in %g s", pause)
                kopf_watch.lose(f"kopf failed ({type(error).__name__}), see the operator's log")
                if loop.time() - started > MAX_RETRY_SECONDS:
                    pause = FIRST_RETRY_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_RETRY_SECONDS)
            # What kopf missed meanwhile is seen at once.
            trigger.set()

    await run_until_first_completed(
        reconcile(),
        watch(),
        run_supervised("listing of chart versions", chart_versions.run),
        run_supervised("drift detection", drift.run),
        *cluster.background_tasks(),
    )


async def wait_until_synced(cluster: KubeCluster, telemetry: Telemetry) -> None:
    """Return when every required watch has listed its objects; until then, report what is missing."""
    synced = asyncio.ensure_future(cluster.wait_until_synced())
    try:
        while not (await asyncio.wait({synced}, timeout=SYNC_REPORT_SECONDS))[0]:
            lost = [str(state) for state in cluster.watch_states() if state.required and state.loss is not None]
            telemetry.status_written("; ".join(lost[:MAX_REPORTED]) or "watches have not synced yet")
    finally:
        synced.cancel()
    telemetry.status_written(None)
