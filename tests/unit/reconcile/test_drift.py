"""When the release is compared with the cluster, and how long the result is valid."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import a_revision, an_observation
from cilium_hybrid.plan.observation import Difference, Observation
from cilium_hybrid.reconcile.drift import DriftDetector
from fakes import FakeCluster, FakeReleases, FixedClock

CONFIG = {"kind": "ConfigMap", "metadata": {"name": "cilium-config", "namespace": "kube-system"}}
EDITED = Difference("ConfigMap kube-system/cilium-config", (".data.debug",))
LIMIT = 5.0
NEVER = 3600.0


class ChangingCluster(FakeCluster):
    """A cluster that changes while it is compared: `meanwhile_compared` has one change for each comparison."""

    def __init__(self, releases: FakeReleases) -> None:
        super().__init__(releases)
        self.meanwhile_compared: list[Callable[[], None]] = []

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """Return the differences, then change the cluster."""
        found = await super().differences(manifests)
        if self.meanwhile_compared:
            self.meanwhile_compared.pop(0)()
        return found


class Scene:
    """A detector and its release; `changed` is set when the differences change."""

    def __init__(self, interval: float = NEVER) -> None:
        self.releases = FakeReleases(FixedClock())
        self.cluster = ChangingCluster(self.releases)
        self.changed = asyncio.Event()
        self.detector = DriftDetector(self.releases, self.cluster, self.changed.set, interval, debounce=0.0)

    def release(self, number: int) -> Observation:
        self.releases.revisions.append(a_revision(number))
        self.releases.rendered[number] = [CONFIG]
        return an_observation(*self.releases.revisions)

    async def wait_for_change(self) -> None:
        async with asyncio.timeout(LIMIT):
            await self.changed.wait()
        self.changed.clear()

    async def wait_for_comparisons(self, times: int) -> None:
        async with asyncio.timeout(LIMIT):
            while self.cluster.compared < times:  # noqa: ASYNC110 # the fake has no event for it
                await asyncio.sleep(0)


def run(scenario: Callable[[Scene], Coroutine[Any, Any, None]], scene: Callable[[], Scene] = Scene) -> None:
    async def run_scenario() -> None:
        created = scene()
        running = asyncio.ensure_future(created.detector.run())
        await scenario(created)
        assert not running.done()
        running.cancel()

    asyncio.run(run_scenario())


def test_a_revision_is_compared_once_and_again_after_an_edit() -> None:
    async def scenario(scene: Scene) -> None:
        observation = scene.release(1)
        assert scene.detector.of(observation) is None
        await scene.wait_for_change()
        assert scene.detector.of(observation) == ()

        scene.cluster.edited = [EDITED]
        assert scene.detector.of(observation) == ()
        edited = replace(observation, edits=(2,))
        assert scene.detector.of(edited) == ()
        await scene.wait_for_change()
        assert scene.detector.of(edited) == (EDITED,)
        assert scene.cluster.compared == 2

    run(scenario)


def test_another_revision_discards_the_differences() -> None:
    async def scenario(scene: Scene) -> None:
        scene.cluster.edited = [EDITED]
        assert scene.detector.of(scene.release(1)) is None
        await scene.wait_for_change()
        scene.cluster.edited = []
        second = scene.release(2)
        assert scene.detector.of(second) is None
        await scene.wait_for_change()
        assert scene.detector.of(second) == ()

    run(scenario)


def test_unwatched_objects_are_compared_periodically_and_only_a_change_triggers() -> None:
    async def scenario(scene: Scene) -> None:
        observation = scene.release(1)
        scene.detector.of(observation)
        await scene.wait_for_change()
        await scene.wait_for_comparisons(3)
        assert not scene.changed.is_set()

        scene.cluster.edited = [EDITED]
        await scene.wait_for_change()
        assert scene.detector.of(observation) == (EDITED,)

    run(scenario, lambda: Scene(interval=0.001))


def test_an_unavailable_api_server_keeps_the_differences() -> None:
    async def scenario(scene: Scene) -> None:
        observation = scene.release(1)
        scene.detector.of(observation)
        await scene.wait_for_change()
        scene.cluster.outage = "no answer"
        before = scene.cluster.compared
        await scene.wait_for_comparisons(before + 2)
        assert scene.detector.of(observation) == ()

        scene.cluster.outage, scene.cluster.edited = None, [EDITED]
        await scene.wait_for_change()
        assert scene.detector.of(observation) == (EDITED,)

    run(scenario, lambda: Scene(interval=0.001))


def test_a_comparison_is_discarded_if_another_revision_was_deployed_meanwhile() -> None:
    async def scenario(scene: Scene) -> None:
        first = scene.release(1)
        scene.cluster.edited = [EDITED]
        second = scene.release(2)

        def released() -> None:
            scene.detector.of(second)
            scene.cluster.edited = []

        scene.cluster.meanwhile_compared = [released]
        scene.detector.of(first)
        await scene.wait_for_change()
        assert scene.detector.of(second) == ()

    run(scenario)


def test_an_unreadable_helm_record_has_no_differences() -> None:
    async def scenario(scene: Scene) -> None:
        observation = scene.release(1)
        scene.releases.rendered[1] = []
        scene.detector.of(observation)
        await scene.wait_for_comparisons(2)
        assert scene.detector.of(observation) is None

    run(scenario, lambda: Scene(interval=0.001))


def test_nothing_is_compared_without_a_release() -> None:
    async def scenario(scene: Scene) -> None:
        assert scene.detector.of(an_observation()) is None
        # Far longer than a comparison would take to start.
        for _ in range(1000):
            await asyncio.sleep(0)
        assert scene.cluster.compared == 0

    run(scenario, lambda: Scene(interval=0.0))


def test_an_unexpected_error_is_logged_and_the_detector_continues(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(scene: Scene) -> None:
        def fail() -> None:
            raise KeyError("resourceVersion")

        scene.cluster.meanwhile_compared = [fail]
        observation = scene.release(1)
        scene.detector.of(observation)
        await scene.wait_for_change()
        assert scene.detector.of(observation) == ()

    run(scenario, lambda: Scene(interval=0.001))

    assert [record.levelname for record in caplog.records] == ["ERROR"]
