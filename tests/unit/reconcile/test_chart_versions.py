import asyncio
from collections.abc import Sequence

import pytest

from builders import REF, VERSION
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.reconcile.chart_versions import ChartVersions
from fake_charts import FakeCharts

OTHER_REF = f"{REF}-mirror"


class RecordingCharts(FakeCharts):
    """Charts that record the references whose versions were listed."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []
        self.listed_often = asyncio.Event()

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        self.listed.append(ref)
        if len(self.listed) > 2:
            self.listed_often.set()
        return await super().versions(ref)


def some_charts() -> RecordingCharts:
    charts = RecordingCharts()
    charts.publish(REF, VERSION)
    charts.publish(OTHER_REF, "1.18.8-1")
    return charts


async def versions_of(
    chart_versions: ChartVersions, ref: str, changed: asyncio.Event
) -> Sequence[CiliumVersion] | None:
    """The versions once they have been listed."""
    assert chart_versions.of(ref) is None
    await asyncio.wait_for(changed.wait(), 5)
    changed.clear()
    return chart_versions.of(ref)


def test_versions_are_listed_once_for_each_chart() -> None:
    async def scenario() -> None:
        charts, changed = some_charts(), asyncio.Event()
        chart_versions = ChartVersions(charts, changed.set)
        running = asyncio.ensure_future(chart_versions.run())

        assert await versions_of(chart_versions, REF, changed) == [CiliumVersion.parse(VERSION)]
        assert await versions_of(chart_versions, OTHER_REF, changed) == [CiliumVersion.parse("1.18.8-1")]
        assert charts.listed == [REF, OTHER_REF]
        running.cancel()

    asyncio.run(scenario())


def test_versions_are_listed_again_after_a_while_and_after_a_failure() -> None:
    async def scenario() -> None:
        charts, changed = some_charts(), asyncio.Event()
        charts.outage = "the registry is unavailable"
        chart_versions = ChartVersions(charts, changed.set, refresh_seconds=0.01, retry_seconds=0.01)
        chart_versions.of(REF)
        running = asyncio.ensure_future(chart_versions.run())
        await asyncio.wait_for(charts.listed_often.wait(), 5)
        assert chart_versions.of(REF) is None
        charts.outage = None

        await asyncio.wait_for(changed.wait(), 5)
        assert chart_versions.of(REF) == [CiliumVersion.parse(VERSION)]
        running.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("ref", [None, "/charts/cilium"])
def test_versions_of_a_chart_on_disk_are_not_listed(ref: str | None) -> None:
    async def scenario() -> None:
        charts, changed = some_charts(), asyncio.Event()
        chart_versions = ChartVersions(charts, changed.set)
        running = asyncio.ensure_future(chart_versions.run())
        if ref is not None:
            chart_versions.of(ref)
        # Let it run until it waits.
        for _ in range(10):
            await asyncio.sleep(0)
        assert not charts.listed
        running.cancel()

    asyncio.run(scenario())
