import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from builders import NOW
from cilium_hybrid.reconcile.loop import RETRY_AFTER_ERROR, run_reconcile_loop
from cilium_hybrid.reconcile.reconciler import Reconciler
from cilium_hybrid.reconcile.trigger import Trigger
from fakes import FixedClock, RecordingTelemetry


class ScriptedReconciler(Reconciler):
    """Reconciliations with given results; after the last one, the loop is cancelled."""

    def __init__(self, *results: Callable[[], datetime | None]) -> None:
        self._results = list(results)

    async def reconcile(self) -> datetime | None:
        if not self._results:
            raise asyncio.CancelledError
        return self._results.pop(0)()


class RecordingTrigger(Trigger):
    """A trigger that returns at once and records the timeouts."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float] = []

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 # as its parent has it
        self.timeouts.append(timeout)


def fail() -> datetime | None:
    raise RuntimeError("a bug")


def timeouts_after(*results: Callable[[], datetime | None], tally: RecordingTelemetry | None = None) -> list[float]:
    trigger = RecordingTrigger()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(
            run_reconcile_loop(ScriptedReconciler(*results), trigger, FixedClock(), tally or RecordingTelemetry(), 600)
        )
    return trigger.timeouts


def test_the_loop_waits_until_the_next_reconciliation_is_due() -> None:
    assert timeouts_after(lambda: None, lambda: NOW + timedelta(seconds=20), lambda: NOW) == [600, 20, 0]


def test_the_resync_is_never_delayed() -> None:
    assert timeouts_after(lambda: NOW + timedelta(hours=2)) == [600]


def test_a_time_in_the_past_is_due_now() -> None:
    assert timeouts_after(lambda: NOW - timedelta(hours=2)) == [0]


def test_an_unexpected_error_is_logged_and_counted_and_the_loop_continues(caplog: pytest.LogCaptureFixture) -> None:
    tally = RecordingTelemetry()

    assert timeouts_after(fail, lambda: None, tally=tally) == [RETRY_AFTER_ERROR.total_seconds(), 600]
    assert tally.errors == 1
    assert tally.status_errors == ["reconciliations fail (RuntimeError), see the operator's log"]
    assert len(tally.durations) == 2
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
