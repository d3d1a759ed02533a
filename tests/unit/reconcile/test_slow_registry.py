"""A registry that takes long to answer stops neither the status nor a changed spec."""

import asyncio
from datetime import timedelta

import pytest

from builders import REF, VERSION, a_node, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.ports import FetchedChart
from cilium_hybrid.reconcile.background import BackgroundRequest
from cilium_hybrid.reconcile.reconciler import IN_PROGRESS_INTERVAL
from unit.world import World, a_new_world

OTHER_VERSION = "1.17.10-0"
PATIENCE = 0.01


class SlowRegistry:
    """A registry that sends a chart only once it may. `requested` and `cancelled` are versions of the chart."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requested: list[str] = []
        self.cancelled: list[str] = []
        self.may_answer = asyncio.Event()
        self._fetch = world.charts.fetch
        monkeypatch.setattr(world.charts, "fetch", self.fetch)
        monkeypatch.setattr(world.executor, "_registry", BackgroundRequest(PATIENCE))

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Fetch a chart."""
        self.requested.append(version)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled.append(version)
            raise
        return await self._fetch(ref, version, pinned_digest)


def test_the_status_is_written_while_a_slow_registry_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = a_new_world()
        registry = SlowRegistry(world, monkeypatch)
        due = await world.reconciler.reconcile()
        first = world.ready.reason, world.status.nodes.total
        world.cluster.nodes["mi-0000000000000003"] = a_node("mi-0000000000000003")
        await world.reconciler.reconcile()

        assert due == world.clock.now() + IN_PROGRESS_INTERVAL
        assert first == (Reason.INSTALLING, 2)
        assert world.status.nodes.total == 3
        assert (registry.requested, world.history) == ([VERSION], [])

    asyncio.run(scenario())


def test_a_later_reconciliation_uses_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = a_new_world()
        registry = SlowRegistry(world, monkeypatch)
        for _ in range(3):
            await world.reconciler.reconcile()
            world.clock.advance(seconds=2)
        registry.may_answer.set()
        await world.reconciler.reconcile()

        assert registry.requested == [VERSION]
        assert world.history == [(1, "deployed", True)]

    asyncio.run(scenario())


def test_a_changed_spec_ends_a_request_that_nobody_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = a_new_world()
        world.charts.publish(REF, OTHER_VERSION)
        registry = SlowRegistry(world, monkeypatch)
        await world.reconciler.reconcile()
        world.cluster.edit(a_raw_spec(version=OTHER_VERSION))
        await world.reconciler.reconcile()
        registry.may_answer.set()
        await world.reconciler.reconcile()

        assert (registry.requested, registry.cancelled) == ([VERSION, OTHER_VERSION], [VERSION])
        assert world.releases.newest.chart_version == OTHER_VERSION

    asyncio.run(scenario())


def test_a_registry_that_then_fails_is_retried_with_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = a_new_world()
        registry = SlowRegistry(world, monkeypatch)
        await world.reconciler.reconcile()
        world.charts.outage = "the registry does not answer"
        registry.may_answer.set()
        await world.reconciler.reconcile()
        due = await world.reconciler.reconcile()

        assert due == world.clock.now() + timedelta(seconds=5)
        assert world.ready.reason is Reason.CHART_UNAVAILABLE
        assert registry.requested == [VERSION]

    asyncio.run(scenario())
