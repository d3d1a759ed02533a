"""The reconcile loop: it reconciles when triggered and at every resync, until it is cancelled."""

import itertools
import logging
import time
from datetime import timedelta
from typing import Final

from cilium_hybrid.ports import Clock, Telemetry
from cilium_hybrid.reconcile.context import LOG_CONTEXT
from cilium_hybrid.reconcile.reconciler import Reconciler
from cilium_hybrid.reconcile.trigger import Trigger

log = logging.getLogger(__name__)

RETRY_AFTER_ERROR: Final = timedelta(seconds=30)


async def run_reconcile_loop(
    reconciler: Reconciler, trigger: Trigger, clock: Clock, telemetry: Telemetry, resync_seconds: float
) -> None:
    """Reconcile forever. An unexpected error is logged with its traceback and retried; it never ends the operator."""
    for number in itertools.count(1):
        LOG_CONTEXT.set({"reconciliation": number})
        started = time.monotonic()
        telemetry.reconcile_started()
        try:
            next_at = await reconciler.reconcile()
        except Exception as error:
            log.exception("reconciliation failed; retrying in %g s", RETRY_AFTER_ERROR.total_seconds())
            telemetry.reconcile_failed()
            telemetry.status_written(f"reconciliations fail ({type(error).__name__}), see the operator's log")
            next_at = clock.now() + RETRY_AFTER_ERROR
        telemetry.reconcile_finished(time.monotonic() - started)
        timeout = resync_seconds
        if next_at is not None:
            timeout = min(timeout, max(0.0, (next_at - clock.now()).total_seconds()))
        await trigger.wait(timeout)
