"""The sockets of an aiohttp client, so that all of them end with it."""

import asyncio
import socket
from contextlib import suppress
from typing import Final
from weakref import WeakSet

import aiohttp

CLOSE_SECONDS: Final = 1.0


class Sockets:
    """Every socket of a client, for aiohttp forgets one that it has begun to close."""

    def __init__(self) -> None:
        self._opened: WeakSet[socket.socket] = WeakSet()

    def open(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """A socket for aiohttp."""
        family, kind, protocol, _, _ = address
        opened = socket.socket(family, kind, protocol)
        self._opened.add(opened)
        return opened

    async def close(self) -> None:
        """End them all, and return when their transports know."""
        for opened in self._opened:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while any(opened.fileno() >= 0 for opened in self._opened):  # noqa: ASYNC110 # no event tells of it
                    await asyncio.sleep(0)
