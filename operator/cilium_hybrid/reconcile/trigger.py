"""The trigger of reconciliations: an event only starts one and carries no data, and many events start one."""

import asyncio
from typing import Final

MIN_INTERVAL: Final = 0.2
"""Seconds between the starts of two reconciliations."""


class Trigger:
    """An event that any number of watches set and one loop waits for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._next_start = 0.0

    def set(self) -> None:
        """Request a reconciliation. Requests before it starts are merged."""
        self._event.set()

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 # the slow resync is part of the contract
        """Return at the next request or after `timeout` seconds, at least `MIN_INTERVAL` after the last return."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            pass
        await asyncio.sleep(max(0.0, self._next_start - loop.time()))
        self._event.clear()
        self._next_start = loop.time() + MIN_INTERVAL
