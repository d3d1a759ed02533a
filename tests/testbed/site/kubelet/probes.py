"""The probes of a container."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """A check that is repeated: `period` in seconds, and after how many results in a row it has failed."""

    check: Callable[[], Awaitable[bool]]
    period: float
    failures: int
    delay: float

    async def succeeds(self) -> bool:
        """Return True as soon as the check succeeds, False when it has failed too often."""
        await asyncio.sleep(self.delay)
        for _ in range(self.failures):
            if await self.check():
                return True
            await asyncio.sleep(self.period)
        return False

    async def fails(self) -> None:
        """Return when the check has failed too often in a row."""
        await asyncio.sleep(self.delay)
        failed = 0
        while failed < self.failures:
            failed = 0 if await self.check() else failed + 1
            await asyncio.sleep(self.period)

    async def follow(self, report: Callable[[bool], None]) -> None:
        """Report success at once, and failure when the check has failed too often in a row, until cancelled."""
        await asyncio.sleep(self.delay)
        failed = 0
        while True:
            failed = 0 if await self.check() else failed + 1
            if failed == 0 or failed >= self.failures:
                report(failed == 0)
            await asyncio.sleep(self.period)


def probe(spec: Object, check: Callable[[], Awaitable[bool]]) -> Probe:
    """Return a probe with the times of its spec, or the defaults of Kubernetes."""
    return Probe(
        check, spec.get("periodSeconds", 10), spec.get("failureThreshold", 3), spec.get("initialDelaySeconds", 0)
    )


async def http_succeeds(spec: Object, pod_address: str, limit: float) -> bool:
    """Send the request of an `httpGet` probe; whether it is answered with success within `limit` seconds."""
    url = f"http://{spec.get('host') or pod_address}:{spec['port']}{spec.get('path', '/')}"
    headers = {header["name"]: header["value"] for header in spec.get("httpHeaders", ())}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limit), headers=headers) as session,
            session.get(url) as response,
        ):
            return HTTPStatus.OK <= response.status < HTTPStatus.BAD_REQUEST
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
