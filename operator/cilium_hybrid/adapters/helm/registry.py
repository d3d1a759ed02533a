"""The tags of a chart's repository (OCI distribution API), for Helm has no command that lists them."""

import asyncio
import json
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from cilium_hybrid.adapters.sockets import Sockets
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.ports import ChartUnavailableError
from cilium_hybrid.rules.rule import one_line

LOGIN: Final = "the registry wants a login, or does not know this chart"
LIMIT: Final = "the registry's limit is reached; it is tried again with growing pauses"
AWAY: Final = "check that the operator reaches the registry; it is tried again with growing pauses"
_UNKNOWN: Final = "correct spec.chart.ref"
_BY_HAND: Final = "name the steps in spec.upgrade.via"

SECONDS: Final = 30.0
"""For a whole list, whatever the registry does."""
PAGE: Final = 1000
"""Tags to ask for at once: more than that Amazon ECR does not take."""
MOST_REQUESTS: Final = 100
MOST_BYTES: Final = 8 << 20
"""Of all answers for one list; a tag with its quotes is below 200."""
_DEEPEST: Final = 64

_REF: Final = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(:[0-9]{1,5})?)/(?P<name>[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
)
_CHALLENGE: Final = re.compile(r'\b(realm|service|scope)="([^"]*)"', re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a registry says: `leads_to` is the next page, or the place where it is instead."""

    status: int
    body: bytes
    challenge: str
    leads_to: str | None


async def list_versions(ref: str, *, seconds: float = SECONDS, page: int = PAGE) -> Sequence[CiliumVersion]:
    """The versions among the tags of `ref`, the oldest first; ChartUnavailableError."""
    place = _REF.fullmatch(ref)
    if place is None:
        raise _unavailable(ref, _UNKNOWN, "it names no repository of a registry")
    url = f"https://{place['host']}/v2/{place['name']}/tags/list?n={page}"
    # A client of its own each time: the authorities and the proxy are those of now.
    sockets = Sockets()
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(), socket_factory=sockets.open)
    limits, cookies = aiohttp.ClientTimeout(total=None), aiohttp.DummyCookieJar()
    try:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(
                connector=connector, timeout=limits, cookie_jar=cookies, auto_decompress=False
            ) as session,
        ):
            return await _Listing(session, ref, _host(url)).versions(url)
    except TimeoutError:
        raise _unavailable(ref, AWAY, f"no whole answer within {seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _unavailable(ref, AWAY, _words(error)) from None
    finally:
        await sockets.close()


class _Listing:
    """One walk through the pages of a list, with what it may cost."""

    def __init__(self, session: aiohttp.ClientSession, ref: str, host: tuple[str, int]) -> None:
        self._session, self._ref, self._host = session, ref, host
        self._token: str | None = None
        self._left = MOST_BYTES

    async def versions(self, url: str) -> Sequence[CiliumVersion]:
        """The versions on the pages from `url` on; ChartUnavailableError, and what aiohttp raises."""
        found: set[CiliumVersion] = set()
        for _ in range(MOST_REQUESTS):
            answer = await self._get(url)
            if answer.status == HTTPStatus.UNAUTHORIZED and self._token is None:
                self._token = await self._anonymous(answer.challenge)
            elif answer.status in _MOVED and answer.leads_to is not None:
                url = answer.leads_to
            elif answer.status != HTTPStatus.OK:
                raise self._answered(answer.status)
            else:
                found |= _versions(self._read(answer.body).get("tags"))
                if answer.leads_to is None:
                    return sorted(found)
                url = answer.leads_to
        raise _unavailable(self._ref, _BY_HAND, f"its list is not at its end after {MOST_REQUESTS} answers")

    async def _anonymous(self, challenge: str) -> str:
        """The token that anybody gets; public registries want one all the same."""
        asked = {name.lower(): value for name, value in _CHALLENGE.findall(challenge)}
        realm = asked.pop("realm", None)
        if realm is None or not challenge.lower().startswith("bearer "):
            raise self._answered(HTTPStatus.UNAUTHORIZED)
        answer = await self._get(f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(asked)}")
        if answer.status != HTTPStatus.OK:
            raise self._answered(answer.status)
        served = self._read(answer.body)
        token = served.get("token") or served.get("access_token")
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise _unavailable(self._ref, LOGIN, "it gives no token")
        return token

    async def _get(self, url: str) -> _Answer:
        place = urlsplit(url)
        if place.scheme != "https":
            raise _unavailable(self._ref, _BY_HAND, "it leads to an address without TLS")
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._token is not None and _host(url) == self._host:
            headers["Authorization"] = f"Bearer {self._token}"
        proxy = _proxy(place.hostname or "")
        async with self._session.get(url, headers=headers, proxy=proxy, allow_redirects=False) as answer:
            body = await self._body(answer.content)
            if answer.status in _MOVED:
                moved = answer.headers.get("Location")
            else:
                moved = str(answer.links["next"]["url"]) if "next" in answer.links else None
            leads_to = None if moved is None else urljoin(url, moved)
            return _Answer(answer.status, body, answer.headers.get("WWW-Authenticate", ""), leads_to)

    async def _body(self, content: aiohttp.StreamReader) -> bytes:
        body = bytearray()
        async for chunk in content.iter_any():
            body += chunk
            self._left -= len(chunk)
            if self._left < 0:
                raise _unavailable(self._ref, _BY_HAND, f"its answers are larger than {MOST_BYTES >> 20} MiB")
        return bytes(body)

    def _read(self, body: bytes) -> dict[str, Any]:
        """An object of JSON. No answer here is deep: a deep one would exhaust the stack of whoever reads it."""
        read = None
        if body.count(b"[") + body.count(b"{") <= _DEEPEST:
            with suppress(ValueError):
                read = json.loads(body)
        if not isinstance(read, dict):
            raise _unavailable(self._ref, AWAY, "what answers is no registry")
        return read

    def _answered(self, status: int) -> ChartUnavailableError:
        steps = {401: f"{LOGIN}; {_BY_HAND}", 403: f"{LOGIN}; {_BY_HAND}", 404: _UNKNOWN, 429: LIMIT}
        return _unavailable(self._ref, steps.get(status, AWAY), f"it answers {status}")


def _versions(tags: Any) -> set[CiliumVersion]:
    """What of the tags is a version: images and signatures stand beside the charts."""
    found = set()
    for tag in tags if isinstance(tags, list) else []:
        with suppress(ValueError):
            found.add(CiliumVersion.parse(str(tag)))
    return found


def _host(url: str) -> tuple[str, int]:
    """Who is asked; the token goes to nobody else."""
    place = urlsplit(url)
    return place.hostname or "", place.port or 443


def _words(error: Exception) -> str:
    """What went wrong. Never an address: that of a proxy may hold its password."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answers {error.status}"
        case aiohttp.ClientResponseError():
            return "its answer is no HTTP"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}, {error.os_error}"
        case ValueError():
            return "it or the proxy has an address that is none"
        case _:
            return str(error) or type(error).__name__


def _proxy(host: str) -> str | None:
    """The proxy that Helm would take. aiohttp's own way would also send what a .netrc holds for the host."""
    proxy = getproxies().get("https")
    if not proxy or host == "localhost" or host.startswith("127.") or proxy_bypass(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _unavailable(ref: str, step: str, words: str) -> ChartUnavailableError:
    return ChartUnavailableError(f"cannot list the versions of {ref}: {step} ({one_line(words)})")
