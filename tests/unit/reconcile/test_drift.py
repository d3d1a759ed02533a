"""When what is released is compared, and which answer holds for how long."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import a_revision, an_observation
from cilium_hybrid.plan.observation import Difference, Observation
from cilium_hybrid.reconcile.drift import DriftWatch
from fakes import FakeCluster, FakeReleases, FixedClock

CONFIG = {"kind": "ConfigMap", "metadata": {"name": "cilium-config", "namespace": "kube-system"}}
EDITED = Difference("ConfigMap kube-system/cilium-config", (".data.debug",))
LIMIT = 5.0
NEVER = 3600.0


class Compared(FakeCluster):
    """A cluster in which something happens while it is compared: `meanwhile_compared`, one thing each time."""

    def __init__(self, releases: FakeReleases) -> None:
        super().__init__(releases)
        self.meanwhile_compared: list[Callable[[], None]] = []

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """How the objects that are there differ from these."""
        found = await super().differences(manifests)
        if self.meanwhile_compared:
            self.meanwhile_compared.pop(0)()
        return found


class Stage:
    """A release that is watched; `rung` is set when the answer is another one."""

    def __init__(self, every: float = NEVER) -> None:
        self.releases = FakeReleases(FixedClock())
        self.cluster = Compared(self.releases)
        self.rung = asyncio.Event()
        self.watch = DriftWatch(self.releases, self.cluster, self.rung.set, every, settles=0.0)

    def release(self, number: int) -> Observation:
        self.releases.revisions.append(a_revision(number))
        self.releases.made[number] = [CONFIG]
        return an_observation(*self.releases.revisions)

    async def answer(self) -> None:
        async with asyncio.timeout(LIMIT):
            await self.rung.wait()
        self.rung.clear()

    async def compared(self, times: int) -> None:
        async with asyncio.timeout(LIMIT):
            while self.cluster.compared < times:  # noqa: ASYNC110 # the fake tells nobody
                await asyncio.sleep(0)


def run(scenario: Callable[[Stage], Coroutine[Any, Any, None]], stage: Callable[[], Stage] = Stage) -> None:
    async def whole() -> None:
        made = stage()
        running = asyncio.ensure_future(made.watch.run())
        await scenario(made)
        assert not running.done()
        running.cancel()

    asyncio.run(whole())


def test_a_revision_is_compared_once_and_again_after_an_edit() -> None:
    async def scenario(stage: Stage) -> None:
        seen = stage.release(1)
        assert stage.watch.of(seen) is None
        await stage.answer()
        assert stage.watch.of(seen) == ()

        stage.cluster.edited = [EDITED]
        assert stage.watch.of(seen) == ()
        edited = replace(seen, edits=(2,))
        assert stage.watch.of(edited) == ()
        await stage.answer()
        assert stage.watch.of(edited) == (EDITED,)
        assert stage.cluster.compared == 2

    run(scenario)


def test_another_revision_makes_the_answer_void() -> None:
    async def scenario(stage: Stage) -> None:
        stage.cluster.edited = [EDITED]
        assert stage.watch.of(stage.release(1)) is None
        await stage.answer()
        stage.cluster.edited = []
        second = stage.release(2)
        assert stage.watch.of(second) is None
        await stage.answer()
        assert stage.watch.of(second) == ()

    run(scenario)


def test_what_is_not_watched_is_found_after_a_while_and_the_same_answer_wakes_nobody() -> None:
    async def scenario(stage: Stage) -> None:
        seen = stage.release(1)
        stage.watch.of(seen)
        await stage.answer()
        await stage.compared(3)
        assert not stage.rung.is_set()

        stage.cluster.edited = [EDITED]
        await stage.answer()
        assert stage.watch.of(seen) == (EDITED,)

    run(scenario, lambda: Stage(every=0.001))


def test_an_api_server_that_is_away_changes_no_answer() -> None:
    async def scenario(stage: Stage) -> None:
        seen = stage.release(1)
        stage.watch.of(seen)
        await stage.answer()
        stage.cluster.away = "no answer"
        before = stage.cluster.compared
        await stage.compared(before + 2)
        assert stage.watch.of(seen) == ()

        stage.cluster.away, stage.cluster.edited = None, [EDITED]
        await stage.answer()
        assert stage.watch.of(seen) == (EDITED,)

    run(scenario, lambda: Stage(every=0.001))


def test_what_was_compared_while_another_revision_came_is_no_answer() -> None:
    async def scenario(stage: Stage) -> None:
        first = stage.release(1)
        stage.cluster.edited = [EDITED]
        second = stage.release(2)

        def released() -> None:
            stage.watch.of(second)
            stage.cluster.edited = []

        stage.cluster.meanwhile_compared = [released]
        stage.watch.of(first)
        await stage.answer()
        assert stage.watch.of(second) == ()

    run(scenario)


def test_a_record_that_cannot_be_read_says_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        seen = stage.release(1)
        stage.releases.made[1] = []
        stage.watch.of(seen)
        await stage.compared(2)
        assert stage.watch.of(seen) is None

    run(scenario, lambda: Stage(every=0.001))


def test_nothing_is_compared_where_nothing_is_released() -> None:
    async def scenario(stage: Stage) -> None:
        assert stage.watch.of(an_observation()) is None
        # Far longer than a comparison would take to begin.
        for _ in range(1000):
            await asyncio.sleep(0)
        assert stage.cluster.compared == 0

    run(scenario, lambda: Stage(every=0.0))


def test_a_fault_of_ours_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Stage) -> None:
        def fail() -> None:
            raise KeyError("resourceVersion")

        stage.cluster.meanwhile_compared = [fail]
        seen = stage.release(1)
        stage.watch.of(seen)
        await stage.answer()
        assert stage.watch.of(seen) == ()

    run(scenario, lambda: Stage(every=0.001))

    assert [record.levelname for record in caplog.records] == ["ERROR"]
