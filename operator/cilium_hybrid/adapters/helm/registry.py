"""List the tags of a chart's repository (OCI distribution API); Helm has no command for that."""

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

CHECK_ACCESS: Final = "check that the chart exists and that the registry allows anonymous pulls"
RATE_LIMITED: Final = "the registry limits requests; the operator retries with increasing delays"
CHECK_CONNECTION: Final = "check that the operator can reach the registry; the operator retries with increasing delays"
_CORRECT_REF: Final = "correct spec.chart.ref"
_SET_VIA: Final = "list the versions to pass through in spec.upgrade.via"

TIMEOUT_SECONDS: Final = 30.0
"""For the whole list, whatever the registry does."""
PAGE_SIZE: Final = 1000
"""Tags per page: the maximum of Amazon ECR."""
MAX_REQUESTS: Final = 100
MAX_BYTES: Final = 2 << 20
"""Of all answers for one list: 100,000 tags of 20 characters."""
_MAX_DEPTH: Final = 64

_REF: Final = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(:[0-9]{1,5})?)/(?P<name>[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
)
_CHALLENGE: Final = re.compile(r'\b(realm|service|scope)="([^"]*)"', re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")
_REDIRECTS: Final = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)


@dataclass(frozen=True, slots=True)
class _Response:
    """An answer of the registry; `next_url` is the next page, or the target of a redirect."""

    status: int
    body: bytes
    challenge: str
    next_url: str | None


async def list_versions(
    ref: str, *, seconds: float = TIMEOUT_SECONDS, page: int = PAGE_SIZE
) -> Sequence[CiliumVersion]:
    """Return the versions among the tags of `ref`, oldest first; ChartUnavailableError."""
    match = _REF.fullmatch(ref)
    if match is None:
        raise _unavailable(ref, _CORRECT_REF, "not a reference to a repository")
    url = f"https://{match['host']}/v2/{match['name']}/tags/list?n={page}"
    # A new client each time: CA certificates and proxy may have changed.
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
        raise _unavailable(ref, CHECK_CONNECTION, f"no complete answer within {seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _unavailable(ref, CHECK_CONNECTION, _describe(error)) from None
    finally:
        await sockets.close()


class _Listing:
    """Reads the pages of one list, within its limits."""

    def __init__(self, session: aiohttp.ClientSession, ref: str, host: tuple[str, int]) -> None:
        self._session, self._ref, self._host = session, ref, host
        self._token: str | None = None
        self._remaining_bytes = MAX_BYTES

    async def versions(self, url: str) -> Sequence[CiliumVersion]:
        """Return the versions on the pages from `url` on; ChartUnavailableError, and errors of aiohttp."""
        found: set[CiliumVersion] = set()
        for _ in range(MAX_REQUESTS):
            answer = await self._get(url)
            if answer.status == HTTPStatus.UNAUTHORIZED and self._token is None:
                self._token = await self._anonymous_token(answer.challenge)
            elif answer.status in _REDIRECTS and answer.next_url is not None:
                url = answer.next_url
            elif answer.status != HTTPStatus.OK:
                raise self._status_error(answer.status)
            else:
                # Beside the event loop: a list of this size takes a second.
                found |= await asyncio.to_thread(lambda body: _versions(self._parse(body).get("tags")), answer.body)
                if answer.next_url is None:
                    return sorted(found)
                url = answer.next_url
        raise _unavailable(self._ref, _SET_VIA, f"the list of tags has more than {MAX_REQUESTS} pages")

    async def _anonymous_token(self, challenge: str) -> str:
        """Return the token for anonymous clients, which public registries require."""
        parameters = {name.lower(): value for name, value in _CHALLENGE.findall(challenge)}
        realm = parameters.pop("realm", None)
        if realm is None or not challenge.lower().startswith("bearer "):
            raise self._status_error(HTTPStatus.UNAUTHORIZED)
        answer = await self._get(f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(parameters)}")
        if answer.status != HTTPStatus.OK:
            raise self._status_error(answer.status)
        body = self._parse(answer.body)
        token = body.get("token") or body.get("access_token")
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise _unavailable(self._ref, CHECK_ACCESS, "the registry issued no anonymous token")
        return token

    async def _get(self, url: str) -> _Response:
        target = urlsplit(url)
        if target.scheme != "https":
            raise _unavailable(self._ref, _SET_VIA, "the registry refers to a URL without TLS")
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._token is not None and _host(url) == self._host:
            headers["Authorization"] = f"Bearer {self._token}"
        proxy = _proxy(target.hostname or "")
        async with self._session.get(url, headers=headers, proxy=proxy, allow_redirects=False) as answer:
            body = await self._body(answer.content)
            if answer.status in _REDIRECTS:
                following = answer.headers.get("Location")
            else:
                following = str(answer.links["next"]["url"]) if "next" in answer.links else None
            next_url = None if following is None else urljoin(url, following)
            return _Response(answer.status, body, answer.headers.get("WWW-Authenticate", ""), next_url)

    async def _body(self, content: aiohttp.StreamReader) -> bytes:
        body = bytearray()
        async for chunk in content.iter_any():
            body += chunk
            self._remaining_bytes -= len(chunk)
            if self._remaining_bytes < 0:
                raise _unavailable(self._ref, _SET_VIA, f"the list of tags is larger than {MAX_BYTES >> 20} MiB")
        return bytes(body)

    def _parse(self, body: bytes) -> dict[str, Any]:
        """Parse a JSON object. A valid answer is not nested deeply; a deep one would exhaust the stack."""
        parsed = None
        if body.count(b"[") + body.count(b"{") <= _MAX_DEPTH:
            with suppress(ValueError):
                parsed = json.loads(body)
        if not isinstance(parsed, dict):
            raise _unavailable(self._ref, CHECK_CONNECTION, "the answer is not that of a registry")
        return parsed

    def _status_error(self, status: int) -> ChartUnavailableError:
        fixes = {
            HTTPStatus.UNAUTHORIZED: f"{CHECK_ACCESS}, or {_SET_VIA}",
            HTTPStatus.FORBIDDEN: f"{CHECK_ACCESS}, or {_SET_VIA}",
            HTTPStatus.NOT_FOUND: _CORRECT_REF,
            HTTPStatus.TOO_MANY_REQUESTS: RATE_LIMITED,
        }
        fix = next((fix for code, fix in fixes.items() if code == status), CHECK_CONNECTION)
        return _unavailable(self._ref, fix, f"the registry answers {status}")


def _versions(tags: Any) -> set[CiliumVersion]:
    """Return the tags that are versions; a repository also has tags of images and signatures."""
    found = set()
    for tag in tags if isinstance(tags, list) else []:
        with suppress(ValueError):
            found.add(CiliumVersion.parse(str(tag)))
    return found


def _host(url: str) -> tuple[str, int]:
    """Return host and port; the token is sent to no other."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 443


def _describe(error: Exception) -> str:
    """Describe an error, without a URL: that of a proxy may contain a password."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answers {error.status}"
        case aiohttp.ClientResponseError():
            return "the answer is not valid HTTP"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}, {error.os_error}"
        case ValueError():
            return "the URL of the registry or of the proxy is invalid"
        case _:
            return str(error) or type(error).__name__


def _proxy(host: str) -> str | None:
    """Return the proxy that Helm would use. aiohttp's own support would also send credentials from a .netrc file."""
    proxy = getproxies().get("https")
    if not proxy or host == "localhost" or host.startswith("127.") or proxy_bypass(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _unavailable(ref: str, fix: str, cause: str) -> ChartUnavailableError:
    return ChartUnavailableError(f"cannot list the versions of {ref}: {one_line(cause)}; {fix}")
