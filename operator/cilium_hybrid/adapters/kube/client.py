"""The Kubernetes API client: raw JSON in and out, errors distinguished by HTTP status code.

The typed clients of the library are avoided: `CoreV1Api` alone takes 100 MiB of memory (docs/decisions/0003).
"""

import asyncio.sslproto
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from cilium_hybrid.adapters.sockets import Sockets
from cilium_hybrid.ports import ClusterUnavailableError

CALL_SECONDS: Final = 15.0
"""An API server that takes longer counts as unavailable."""

TLS_BUFFER: Final = 64 * 1024
"""In bytes, for each connection; a TLS record has at most 16 KiB."""

MAX_JSON_DEPTH: Final = 10_000
"""Nesting levels that the API server accepts (the limit of Go's encoding/json)."""

JSON: Final = "application/json"
FIELD_MANAGER: Final = "cilium-hybrid"
"""Of the operator's own objects."""
Body = Mapping[str, Any] | Sequence[Mapping[str, Any]]
_UNAVAILABLE: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class ApiError(Exception):
    """The API server rejected a request; `status` is the HTTP status code, `causes` are its errors by field."""

    def __init__(self, status: int, message: str, causes: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status, self.causes = status, causes


class KubeClient:
    """Requests to the API server. ClusterUnavailableError: no answer. ApiError: a rejected request."""

    def __init__(self, api: ApiClient, connector: aiohttp.TCPConnector, sockets: Sockets) -> None:
        self._api, self._connector, self._sockets = api, connector, sockets

    @classmethod
    async def connect(cls, kubeconfig: str | None) -> Self:
        """Connect with `kubeconfig`, or with the pod's ServiceAccount if it is None; ClusterUnavailableError."""
        # Otherwise a deeply nested resource would crash every process that reads it, starting with kopf's watch.
        sys.setrecursionlimit(5 * MAX_JSON_DEPTH)
        # asyncio's default buffer is four times as large and stays resident for each watch, even an idle one.
        asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER
        configuration = Configuration()
        if kubeconfig is not None and not _exists(kubeconfig):
            # The library would report a key that the file lacks.
            raise ClusterUnavailableError(f"cannot read kubeconfig {kubeconfig}: no such file")
        try:
            if kubeconfig is None:
                load_incluster_config(client_configuration=configuration)
            else:
                await load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        except ConfigException as error:
            source = "the pod's ServiceAccount" if kubeconfig is None else f"kubeconfig {kubeconfig}"
            raise ClusterUnavailableError(f"cannot use {source}: {error}") from None
        api, sockets = ApiClient(configuration), Sockets()
        connector = aiohttp.TCPConnector(ssl=api.rest_client.ssl_context, socket_factory=sockets.open)
        configuration.client_session_kwargs = {"connector": connector}
        return cls(api, connector, sockets)

    async def close(self) -> None:
        """Close all connections without the TLS shutdown, which would outlive the event loop."""
        await self._api.close()
        await self._connector.close()
        await self._sockets.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Any:
        """Return the object or list at `path`."""
        return await self._call("GET", path, query=query, headers={"Accept": accept})

    async def server_version(self) -> str:
        """Return the version of the API server, such as v1.35.4."""
        return str((await self.get("/version"))["gitVersion"])

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Create an object in the collection at `path`; 409 if it exists."""
        return await self._call("POST", path, body=body, headers={"Content-Type": JSON})

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Replace the object at `path`; 409 if its resourceVersion is not the one in `body`."""
        return await self._call("PUT", path, body=body, headers={"Content-Type": JSON})

    async def delete(self, path: str, *, uid: str | None = None) -> Any:
        """Delete the object at `path`; 409 if it does not have this UID."""
        if uid is None:
            return await self._call("DELETE", path, headers={"Accept": JSON})
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        return await self._call("DELETE", path, body=body, headers={"Content-Type": JSON})

    async def patch_json(self, path: str, operations: Sequence[Mapping[str, Any]]) -> Any:
        """Apply a JSON patch; 422 if one of its test operations fails."""
        return await self._call("PATCH", path, body=operations, headers={"Content-Type": "application/json-patch+json"})

    async def apply(
        self, path: str, body: Mapping[str, Any], field_manager: str, *, dry_run: bool = False, force: bool = True
    ) -> Any:
        """Server-side apply an object; a dry run changes nothing.

        With `force`, fields in `body` that other managers own are taken over; without it, a different value is a 409.
        """
        query = {"fieldManager": field_manager, "force": str(force).lower()} | ({"dryRun": "All"} if dry_run else {})
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return await self._call("PATCH", path, query=query, body=body, headers=headers)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], accept: str, silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Return the events of a watch until the API server ends it or sends nothing for `silence_seconds`."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CALL_SECONDS, sock_read=silence_seconds)
        response = await self._request("GET", path, query, None, {"Accept": accept}, limits)
        try:
            yield _events(response)
        finally:
            # Closing drops the connection; reading the rest of the watch would block.
            response.close()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str],
    ) -> Any:
        limits = aiohttp.ClientTimeout(total=CALL_SECONDS)
        with _translate_errors():
            response = await self._request(method, path, query or {}, body, headers, limits)
            async with response:
                return json.loads(await response.read())

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Body | None,
        headers: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        with _translate_errors():
            serialized = await self._api.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params={"Accept": JSON, **headers},
                auth_settings=["BearerToken"],
            )
            # The body bypasses the library's serializer, which would copy every value.
            method, url, header_params, _, post_params = serialized
            answer = await self._api.call_api(method, url, header_params, body, post_params, _request_timeout=limits)
            response: aiohttp.ClientResponse = answer.response
            if response.status >= HTTPStatus.BAD_REQUEST:
                async with response:
                    raise _to_error(response.status, await response.read())
            return response


def _exists(kubeconfig: str) -> bool:
    """Return whether one of the named files exists."""
    return any(Path(name).expanduser().exists() for name in kubeconfig.split(os.pathsep) if name)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise errors of the library and of its transport as ApiError or ClusterUnavailableError."""
    try:
        yield
    except ApiException as error:
        raise _to_error(error.status or 0, (error.body or "").encode()) from None
    except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
        raise ClusterUnavailableError(f"no answer from the API server ({type(error).__name__})") from None


def _to_error(status: int, body: bytes) -> Exception:
    causes: Sequence[Mapping[str, Any]] = ()
    try:
        answer = json.loads(body)
        message = str(answer["message"])
        causes = (answer.get("details") or {}).get("causes") or ()
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"HTTP status {status}"
    if status in _UNAVAILABLE or status == 0:
        return ClusterUnavailableError(f"the API server is unavailable: {message}")
    return ApiError(status, message, causes)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Parse the lines of a watch, one JSON object each; a line may be larger than any buffer."""
    pending = bytearray()
    with _translate_errors():
        async for chunk in response.content.iter_any():
            pending += chunk
            while (end := pending.find(b"\n")) >= 0:
                line = bytes(pending[:end])
                del pending[: end + 1]
                if line.strip():
                    yield json.loads(line)
