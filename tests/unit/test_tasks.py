"""Tasks that live and end together."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cilium_hybrid.tasks import first


async def _ends() -> None:
    await asyncio.sleep(0)


async def _fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("what went wrong")


async def _goes_on() -> None:
    await asyncio.Event().wait()


async def _fails_at_its_end() -> None:
    try:
        await _goes_on()
    finally:
        raise ValueError("what went wrong")


async def _is_cancelled_by_another() -> None:
    part = asyncio.ensure_future(_goes_on())
    asyncio.get_running_loop().call_soon(part.cancel)
    await part


Part = Callable[[], Coroutine[Any, Any, None]]


@pytest.mark.parametrize(
    ("parts", "raised"),
    [
        pytest.param([_ends, _goes_on], None, id="one ends, and the other is ended"),
        pytest.param([_fails, _goes_on], ValueError, id="one fails"),
        pytest.param([_ends, _fails_at_its_end], ValueError, id="one fails while it is ended"),
        pytest.param([_goes_on, _is_cancelled_by_another], asyncio.CancelledError, id="somebody else cancels one"),
    ],
)
def test_what_went_wrong_is_raised(parts: list[Part], raised: type[BaseException] | None) -> None:
    async def go() -> BaseException | None:
        try:
            await first(*(part() for part in parts))
        except BaseException as error:  # noqa: BLE001 # whatever it is
            return error
        finally:
            left.extend(asyncio.all_tasks() - {asyncio.current_task()})
        return None

    left: list[Any] = []
    error = asyncio.run(go())

    assert type(error) is (raised or type(None))
    assert left == []


def test_all_are_ended_with_it() -> None:
    async def go() -> None:
        whole = asyncio.ensure_future(first(_goes_on(), _goes_on()))
        await asyncio.sleep(0)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole

        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(go())
