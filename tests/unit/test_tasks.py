"""Tasks that run and end as one group."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cilium_hybrid import tasks
from cilium_hybrid.tasks import run_supervised, run_until_first_completed


async def _complete() -> None:
    await asyncio.sleep(0)


async def _fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("failed")


async def _run_forever() -> None:
    await asyncio.Event().wait()


async def _fail_on_cancellation() -> None:
    try:
        await _run_forever()
    finally:
        raise ValueError("failed")


async def _be_cancelled() -> None:
    task = asyncio.ensure_future(_run_forever())
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


Task = Callable[[], Coroutine[Any, Any, None]]


@pytest.mark.parametrize(
    ("tasks", "raised"),
    [
        pytest.param([_complete, _run_forever], None, id="one completes"),
        pytest.param([_fail, _run_forever], ValueError, id="one fails"),
        pytest.param([_complete, _fail_on_cancellation], ValueError, id="one fails while it is cancelled"),
        pytest.param([_run_forever, _be_cancelled], asyncio.CancelledError, id="other code cancels one"),
    ],
)
def test_exceptions_are_raised_and_no_task_is_left(tasks: list[Task], raised: type[BaseException] | None) -> None:
    async def run() -> BaseException | None:
        try:
            await run_until_first_completed(*(task() for task in tasks))
        except BaseException as error:  # noqa: BLE001 # of any type
            return error
        finally:
            left.extend(asyncio.all_tasks() - {asyncio.current_task()})
        return None

    left: list[Any] = []
    error = asyncio.run(run())

    assert type(error) is (raised or type(None))
    assert left == []


def test_cancellation_cancels_all_tasks() -> None:
    async def run() -> None:
        group = asyncio.ensure_future(run_until_first_completed(_run_forever(), _run_forever()))
        await asyncio.sleep(0)
        group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group

        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_supervised_task_is_started_again_with_growing_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(tasks, "MAX_PAUSE", 0.08)
    starts = list[float]()

    async def run() -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) % 2:
            raise ValueError("failed")

    async def scenario() -> None:
        async with asyncio.timeout(0.5):
            await run_supervised("the listing", run)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses[:3] == sorted(pauses[:3])
    assert 4 <= len(starts) <= 9
    assert [record.exc_info is not None for record in caplog.records[:3]] == [True, False, True]
    assert caplog.messages[:2] == [
        "the listing failed; starting it again in 0.02 s",
        "the listing has ended; starting it again in 0.04 s",
    ]
