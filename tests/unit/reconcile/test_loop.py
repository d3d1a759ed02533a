import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from builders import NOW
from cilium_hybrid.reconcile.loop import AFTER_A_FAULT, run_reconciliations
from cilium_hybrid.reconcile.reconciler import Reconciler
from cilium_hybrid.reconcile.wakes import Wakes
from fakes import FixedClock, Tally


class Passes(Reconciler):
    """Passes that end as they are told to; the last one ends the loop."""

    def __init__(self, *ends: Callable[[], datetime | None]) -> None:
        self._ends = list(ends)

    async def reconcile(self) -> datetime | None:
        if not self._ends:
            raise asyncio.CancelledError
        return self._ends.pop(0)()


class Waits(Wakes):
    """Wakes at once, and remembers how long it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 # as its parent has it
        self.asked.append(timeout)


def fault() -> datetime | None:
    raise RuntimeError("a fault of ours")


def waits_after(*ends: Callable[[], datetime | None], tally: Tally | None = None) -> list[float]:
    waits = Waits()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_reconciliations(Passes(*ends), waits, FixedClock(), tally or Tally(), 600))
    return waits.asked


def test_a_pass_says_when_the_next_one_is_due() -> None:
    assert waits_after(lambda: None, lambda: NOW + timedelta(seconds=20), lambda: NOW) == [600, 20, 0]


def test_the_resync_is_never_put_off() -> None:
    assert waits_after(lambda: NOW + timedelta(hours=2)) == [600]


def test_a_moment_that_has_passed_is_now() -> None:
    assert waits_after(lambda: NOW - timedelta(hours=2)) == [0]


def test_a_fault_of_ours_is_logged_and_counted_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()

    assert waits_after(fault, lambda: None, tally=tally) == [AFTER_A_FAULT.total_seconds(), 600]
    assert tally.faults == 1
    assert len(tally.passes) == 2
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
