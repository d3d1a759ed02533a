import asyncio
import time
from collections.abc import Awaitable

import pytest

from cilium_hybrid.reconcile import trigger as module
from cilium_hybrid.reconcile.trigger import Trigger


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_INTERVAL", 0.05)


async def seconds(waiting: Awaitable[None]) -> float:
    started = time.monotonic()
    await waiting
    return time.monotonic() - started


def test_setting_the_trigger_ends_the_wait() -> None:
    async def scenario() -> float:
        trigger = Trigger()
        asyncio.get_running_loop().call_later(0.01, trigger.set)
        return await seconds(trigger.wait(30))

    assert asyncio.run(scenario()) < 10


def test_the_wait_ends_at_its_timeout() -> None:
    async def scenario() -> float:
        return await seconds(Trigger().wait(0.02))

    assert asyncio.run(scenario()) >= 0.02


def test_a_trigger_set_before_the_wait_is_not_lost() -> None:
    async def scenario() -> float:
        trigger = Trigger()
        trigger.set()
        return await seconds(trigger.wait(30))

    assert asyncio.run(scenario()) < 10


def test_many_triggers_start_one_reconciliation() -> None:
    async def scenario() -> float:
        trigger = Trigger()
        for _ in range(100):
            trigger.set()
        await trigger.wait(30)
        return await seconds(trigger.wait(0.1))

    assert asyncio.run(scenario()) >= 0.1


def test_reconciliations_start_at_least_an_interval_apart() -> None:
    async def scenario() -> float:
        trigger = Trigger()
        trigger.set()
        await trigger.wait(30)
        trigger.set()
        return await seconds(trigger.wait(30))

    assert asyncio.run(scenario()) >= 0.04


def test_triggers_between_two_reconciliations_are_merged_into_the_second() -> None:
    async def scenario() -> float:
        trigger = Trigger()
        trigger.set()
        await trigger.wait(30)
        trigger.set()
        asyncio.get_running_loop().call_later(0.02, trigger.set)
        await trigger.wait(30)
        return await seconds(trigger.wait(0.1))

    assert asyncio.run(scenario()) >= 0.1
