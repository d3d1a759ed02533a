"""Tracks the sockets of an aiohttp client so that all of them are closed with the client."""

import asyncio
import socket
from contextlib import suppress
from typing import Final
from weakref import WeakSet

import aiohttp

CLOSE_SECONDS: Final = 1.0
"""Maximum time to wait for the transports to close."""


class Sockets:
    """All sockets of a client, including those that aiohttp has started to close and no longer tracks."""

    def __init__(self) -> None:
        self._opened: WeakSet[socket.socket] = WeakSet()

    def open(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Create a socket; a socket factory for aiohttp's TCPConnector."""
        family, kind, protocol, _, _ = address
        opened = socket.socket(family, kind, protocol)
        self._opened.add(opened)
        return opened

    async def close(self) -> None:
        """Shut down every socket and wait until their transports have closed them."""
        for opened in self._opened:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while any(opened.fileno() >= 0 for opened in self._opened):  # noqa: ASYNC110 # no event to wait for
                    await asyncio.sleep(0)
