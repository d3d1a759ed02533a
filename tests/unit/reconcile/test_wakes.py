import asyncio
import time
from collections.abc import Awaitable

import pytest

from cilium_hybrid.reconcile import wakes as module
from cilium_hybrid.reconcile.wakes import Wakes


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORTEST_INTERVAL", 0.05)


async def seconds(waiting: Awaitable[None]) -> float:
    started = time.monotonic()
    await waiting
    return time.monotonic() - started


def test_a_ring_ends_the_wait() -> None:
    async def scenario() -> float:
        wakes = Wakes()
        asyncio.get_running_loop().call_later(0.01, wakes.ring)
        return await seconds(wakes.wait(30))

    assert asyncio.run(scenario()) < 10


def test_without_a_ring_the_wait_ends_by_itself() -> None:
    async def scenario() -> float:
        return await seconds(Wakes().wait(0.02))

    assert asyncio.run(scenario()) >= 0.02


def test_a_ring_before_the_wait_is_not_lost() -> None:
    async def scenario() -> float:
        wakes = Wakes()
        wakes.ring()
        return await seconds(wakes.wait(30))

    assert asyncio.run(scenario()) < 10


def test_many_rings_make_one_pass() -> None:
    async def scenario() -> float:
        wakes = Wakes()
        for _ in range(100):
            wakes.ring()
        await wakes.wait(30)
        return await seconds(wakes.wait(0.1))

    assert asyncio.run(scenario()) >= 0.1


def test_passes_do_not_follow_each_other_at_once() -> None:
    async def scenario() -> float:
        wakes = Wakes()
        wakes.ring()
        await wakes.wait(30)
        wakes.ring()
        return await seconds(wakes.wait(30))

    assert asyncio.run(scenario()) >= 0.04


def test_rings_between_two_passes_are_merged_into_the_second() -> None:
    async def scenario() -> float:
        wakes = Wakes()
        wakes.ring()
        await wakes.wait(30)
        wakes.ring()
        asyncio.get_running_loop().call_later(0.02, wakes.ring)
        await wakes.wait(30)
        return await seconds(wakes.wait(0.1))

    assert asyncio.run(scenario()) >= 0.1
