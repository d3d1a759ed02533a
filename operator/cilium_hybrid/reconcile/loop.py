"""The loop: one pass after another, at each wake and at the slow resync. Nothing ends it but cancellation."""

import itertools
import logging
import time
from datetime import timedelta
from typing import Final

from cilium_hybrid.ports import Clock, Telemetry
from cilium_hybrid.reconcile.context import LOG_CONTEXT
from cilium_hybrid.reconcile.reconciler import Reconciler
from cilium_hybrid.reconcile.wakes import Wakes

log = logging.getLogger(__name__)

AFTER_A_FAULT: Final = timedelta(seconds=30)


async def run_reconciliations(
    reconciler: Reconciler, wakes: Wakes, clock: Clock, telemetry: Telemetry, resync_seconds: float
) -> None:
    """Run passes for ever. A fault of ours is logged in full and tried again, never let end the operator."""
    for number in itertools.count(1):
        LOG_CONTEXT.set({"pass": number})
        started = time.monotonic()
        telemetry.began()
        try:
            again = await reconciler.reconcile()
        except Exception:
            log.exception("a pass failed; the next one looks again")
            telemetry.fault()
            again = clock.now() + AFTER_A_FAULT
        telemetry.passed(time.monotonic() - started)
        timeout = resync_seconds
        if again is not None:
            timeout = min(timeout, max(0.0, (again - clock.now()).total_seconds()))
        await wakes.wait(timeout)
