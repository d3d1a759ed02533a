"""One client for every call: raw JSON in and out, errors told apart by status code.

The typed groups of the library are avoided: `CoreV1Api` alone costs 100 MiB (docs/decisions/0003).
"""

import asyncio.sslproto
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
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
"""An API server that takes longer is taken to be away."""

TLS_BUFFER: Final = 64 * 1024
"""In bytes, of each connection; a TLS record has 16 KiB at most."""

DEEPEST_JSON: Final = 10_000
"""Levels that the API server takes (the limit of Go's encoding/json)."""

JSON: Final = "application/json"
Body = Mapping[str, Any] | Sequence[Mapping[str, Any]]
_AWAY: Final = frozenset({408, 429, 500, 502, 503, 504})


class ApiError(Exception):
    """The API server refused a call; `status` is the HTTP status code, `causes` what it says of single fields."""

    def __init__(self, status: int, message: str, causes: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status, self.causes = status, causes


class KubeClient:
    """Calls to the API server. ClusterUnavailableError: no answer. ApiError: a refusal."""

    def __init__(self, api: ApiClient, connector: aiohttp.TCPConnector, sockets: Sockets) -> None:
        self._api, self._connector, self._sockets = api, connector, sockets

    @classmethod
    async def connect(cls, kubeconfig: str | None) -> Self:
        """Use `kubeconfig`, or the ServiceAccount of the pod where it is None; ClusterUnavailableError."""
        # Else one resource that is nested deeply enough would end every process that reads it, kopf's watch first.
        sys.setrecursionlimit(5 * DEEPEST_JSON)
        # asyncio would keep four times as much for each watch, all of it touched, though nothing is read for hours.
        asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER
        configuration = Configuration()
        if kubeconfig is not None and not _is_there(kubeconfig):
            # The library would speak of a key that the file lacks.
            raise ClusterUnavailableError(f"cannot use {kubeconfig}: there is no such file")
        try:
            if kubeconfig is None:
                load_incluster_config(client_configuration=configuration)
            else:
                await load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        except ConfigException as error:
            raise ClusterUnavailableError(
                f"cannot use {kubeconfig or 'the ServiceAccount of this pod'}: {error}"
            ) from None
        api, sockets = ApiClient(configuration), Sockets()
        connector = aiohttp.TCPConnector(ssl=api.rest_client.ssl_context, socket_factory=sockets.open)
        configuration.client_session_kwargs = {"connector": connector}
        return cls(api, connector, sockets)

    async def close(self) -> None:
        """Let go of the connections, at once: a TLS farewell would outlive the loop that it runs on."""
        await self._api.close()
        await self._connector.close()
        await self._sockets.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Any:
        """The object or list at `path`."""
        return await self._call("GET", path, query=query, headers={"Accept": accept})

    async def server_version(self) -> str:
        """The version of the API server, v1.35.4."""
        return str((await self.get("/version"))["gitVersion"])

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Make a new object in the collection at `path`; 409 where it is there."""
        return await self._call("POST", path, body=body, headers={"Content-Type": JSON})

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Replace the object at `path`; 409 where its resourceVersion is no longer the one in `body`."""
        return await self._call("PUT", path, body=body, headers={"Content-Type": JSON})

    async def delete(self, path: str) -> Any:
        """Delete the object at `path`."""
        return await self._call("DELETE", path, headers={"Accept": JSON})

    async def patch_json(self, path: str, operations: Sequence[Mapping[str, Any]]) -> Any:
        """JSON patch; 422 where a test among the operations does not hold."""
        return await self._call("PATCH", path, body=operations, headers={"Content-Type": "application/json-patch+json"})

    async def apply(
        self, path: str, body: Mapping[str, Any], field_manager: str, *, dry_run: bool = False, force: bool = True
    ) -> Any:
        """Server-side apply; a dry run changes nothing.

        `force` takes over what others hold of the fields in `body`; 409 without it where they hold another value.
        """
        query = {"fieldManager": field_manager, "force": str(force).lower()} | ({"dryRun": "All"} if dry_run else {})
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return await self._call("PATCH", path, query=query, body=body, headers=headers)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], accept: str, silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The events of a watch; ended when the server ends it, or is silent for `silence_seconds`."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CALL_SECONDS, sock_read=silence_seconds)
        response = await self._request("GET", path, query, None, {"Accept": accept}, limits)
        try:
            yield _events(response)
        finally:
            # A watch does not end by itself here; what is left of it is of no interest.
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
        with _translated():
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
        with _translated():
            serialized = await self._api.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params={"Accept": JSON, **headers},
                auth_settings=["BearerToken"],
            )
            # The body goes past the library's serializer, which would walk every value once more.
            method, url, header_params, _, post_params = serialized
            answer = await self._api.call_api(method, url, header_params, body, post_params, _request_timeout=limits)
            response: aiohttp.ClientResponse = answer.response
            if response.status >= 400:  # noqa: PLR2004 # HTTP
                async with response:
                    raise _refusal(response.status, await response.read())
            return response


def _is_there(kubeconfig: str) -> bool:
    """Whether one of the files that are named is there."""
    return any(Path(name).expanduser().exists() for name in kubeconfig.split(os.pathsep) if name)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the library and of its transport, as ours."""
    try:
        yield
    except ApiException as error:
        raise _refusal(error.status or 0, (error.body or "").encode()) from None
    except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
        raise ClusterUnavailableError(f"no answer from the API server ({type(error).__name__})") from None


def _refusal(status: int, body: bytes) -> Exception:
    causes: Sequence[Mapping[str, Any]] = ()
    try:
        told = json.loads(body)
        message = str(told["message"])
        causes = (told.get("details") or {}).get("causes") or ()
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"HTTP status {status}"
    if status in _AWAY or status == 0:
        return ClusterUnavailableError(f"the API server is not able to answer: {message}")
    return ApiError(status, message, causes)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Each line of a watch is one JSON object; a line may be larger than any buffer."""
    pending = bytearray()
    with _translated():
        async for chunk in response.content.iter_any():
            pending += chunk
            while (end := pending.find(b"\n")) >= 0:
                line = bytes(pending[:end])
                del pending[: end + 1]
                if line.strip():
                    yield json.loads(line)
