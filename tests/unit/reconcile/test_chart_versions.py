import asyncio
from collections.abc import Sequence

import pytest

from builders import REF, VERSION
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.reconcile.chart_versions import ChartVersions
from fake_charts import FakeCharts

OTHER_REF = f"{REF}-of-another-place"


class Watched(FakeCharts):
    """Charts that remember what they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.often = asyncio.Event()

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        self.asked.append(ref)
        if len(self.asked) > 2:
            self.often.set()
        return await super().versions(ref)


def charts() -> Watched:
    made = Watched()
    made.publish(REF, VERSION)
    made.publish(OTHER_REF, "1.18.8-1")
    return made


async def told(chart_versions: ChartVersions, ref: str, rung: asyncio.Event) -> Sequence[CiliumVersion] | None:
    """What is known once the registry was asked."""
    assert chart_versions.of(ref) is None
    await asyncio.wait_for(rung.wait(), 5)
    rung.clear()
    return chart_versions.of(ref)


def test_it_is_asked_once_and_again_where_another_chart_is_wanted() -> None:
    async def scenario() -> None:
        asked, rung = charts(), asyncio.Event()
        chart_versions = ChartVersions(asked, rung.set)
        running = asyncio.ensure_future(chart_versions.run())

        assert await told(chart_versions, REF, rung) == [CiliumVersion.parse(VERSION)]
        assert await told(chart_versions, OTHER_REF, rung) == [CiliumVersion.parse("1.18.8-1")]
        assert asked.asked == [REF, OTHER_REF]
        running.cancel()

    asyncio.run(scenario())


def test_it_is_asked_again_after_a_while_also_where_it_did_not_say() -> None:
    async def scenario() -> None:
        asked, rung = charts(), asyncio.Event()
        asked.away = "the registry is away"
        chart_versions = ChartVersions(asked, rung.set, every=0.01, again=0.01)
        chart_versions.of(REF)
        running = asyncio.ensure_future(chart_versions.run())
        await asyncio.wait_for(asked.often.wait(), 5)
        assert chart_versions.of(REF) is None
        asked.away = None

        await asyncio.wait_for(rung.wait(), 5)
        assert chart_versions.of(REF) == [CiliumVersion.parse(VERSION)]
        running.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("ref", [None, "/charts/cilium"])
def test_a_chart_on_disk_is_in_no_registry(ref: str | None) -> None:
    async def scenario() -> None:
        asked, rung = charts(), asyncio.Event()
        chart_versions = ChartVersions(asked, rung.set)
        running = asyncio.ensure_future(chart_versions.run())
        if ref is not None:
            chart_versions.of(ref)
        # Until it waits, which is as far as it gets.
        for _ in range(10):
            await asyncio.sleep(0)
        assert not asked.asked
        running.cancel()

    asyncio.run(scenario())
