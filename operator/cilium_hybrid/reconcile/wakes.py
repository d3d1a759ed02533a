"""Wakes: events only start passes and carry no meaning; many of them make one pass."""

import asyncio
from typing import Final

SHORTEST_INTERVAL: Final = 0.2
"""Seconds between the starts of two passes."""


class Wakes:
    """A bell that any number of watches ring and one loop hears."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._next_pass = 0.0

    def ring(self) -> None:
        """Ask for a pass. Rings before it starts are merged."""
        self._rung.set()

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 # the slow resync is part of the contract
        """Return at the next ring, or after `timeout` seconds; not sooner than a moment after the last return."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        except TimeoutError:
            pass
        await asyncio.sleep(max(0.0, self._next_pass - loop.time()))
        self._rung.clear()
        self._next_pass = loop.time() + SHORTEST_INTERVAL
