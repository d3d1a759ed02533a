import asyncio
import gc

import pytest

from cilium_hybrid.reconcile.background import BackgroundRequest, InProgressError

PATIENCE = 0.01


class Registry:
    """A registry that answers when it is told to. `requests` are all that it received."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.cancelled: list[str] = []
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask(self, what: str) -> str:
        """Answer once `answer` is set."""
        self.requests.append(what)
        try:
            return await asyncio.shield(self.answer)
        except asyncio.CancelledError:
            self.cancelled.append(what)
            raise


def test_a_silent_registry_blocks_no_reconciliation_and_is_asked_once() -> None:
    async def scenario() -> None:
        registry, request = Registry(), BackgroundRequest(PATIENCE)
        for _ in range(3):
            with pytest.raises(InProgressError):
                await request.result("1.18", lambda: registry.ask("1.18"))
        registry.answer.set_result("chart")

        assert await request.result("1.18", lambda: registry.ask("1.18")) == "chart"
        assert registry.requests == ["1.18"]

    asyncio.run(scenario())


def test_an_answer_is_returned_once() -> None:
    async def scenario() -> None:
        registry, request = Registry(), BackgroundRequest(PATIENCE)
        registry.answer.set_result("chart")
        await request.result("1.18", lambda: registry.ask("1.18"))
        await request.result("1.18", lambda: registry.ask("1.18"))

        assert registry.requests == ["1.18", "1.18"]

    asyncio.run(scenario())


def test_an_error_is_raised_once_and_the_next_call_asks_again() -> None:
    async def scenario() -> None:
        registry, request = Registry(), BackgroundRequest(PATIENCE)
        registry.answer.set_exception(ValueError("refused"))
        with pytest.raises(ValueError, match="refused"):
            await request.result("1.18", lambda: registry.ask("1.18"))
        registry.answer = asyncio.get_running_loop().create_future()
        registry.answer.set_result("chart")

        assert await request.result("1.18", lambda: registry.ask("1.18")) == "chart"

    asyncio.run(scenario())


def test_another_request_ends_the_one_that_nobody_waits_for() -> None:
    async def scenario() -> None:
        registry, request = Registry(), BackgroundRequest(PATIENCE)
        for version in ("1.18", "1.19"):
            with pytest.raises(InProgressError):
                await request.result(version, lambda version=version: registry.ask(version))  # type: ignore[misc]

        assert registry.cancelled == ["1.18"]
        await request.cancel()
        assert registry.cancelled == ["1.18", "1.19"]

    asyncio.run(scenario())


def test_the_error_of_a_request_that_nobody_waits_for_any_more_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        registry, request = Registry(), BackgroundRequest(PATIENCE)
        with pytest.raises(InProgressError):
            await request.result("1.18", lambda: registry.ask("1.18"))
        registry.answer.set_exception(ValueError("refused"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        registry.answer = asyncio.get_running_loop().create_future()
        registry.answer.set_result("chart")
        assert await request.result("1.19", lambda: registry.ask("1.19")) == "chart"

    asyncio.run(scenario())
    gc.collect()

    assert caplog.text == ""
