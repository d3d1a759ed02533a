"""The TLS proxy in front of the registry, which can fail on demand; `Registry` starts it."""

import argparse
import asyncio
import base64
import logging
import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from aiohttp import ClientSession, web

LOOPBACK = "127.0.0.1"
# Headers of a connection, which a proxy must not forward.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})
MAX_BLOB = 64 << 20


@dataclass
class Proxy:
    """Forwards requests to the registry, or fails as its mode says."""

    session: ClientSession
    upstream: str
    port: int
    tls: ssl.SSLContext
    mode: str = "serve"
    retry_after: int | None = None
    login: str | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Start listening, unless the proxy listens already."""
        if self.runner is None:
            app = web.Application(client_max_size=MAX_BLOB)
            app.router.add_route("*", "/{path:.*}", self.handle)
            self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await self.runner.setup()
            await web.TCPSite(self.runner, LOOPBACK, self.port, ssl_context=self.tls).start()

    async def close(self) -> None:
        """Stop listening, and close the open connections."""
        if self.runner is not None:
            runner, self.runner = self.runner, None
            await runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Respond to a request as the mode says."""
        self.requests.append((request.method, request.path_qs))
        async with self.changed:
            await self.changed.wait_for(lambda: self.mode != "hang")
        if self.mode == "429":
            headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
            return _error(HTTPStatus.TOO_MANY_REQUESTS, "TOOMANYREQUESTS", headers)
        if self.login is not None and request.headers.get("Authorization") != self.login:
            return _error(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="testbed"'})
        return await self._forward(request)

    async def set_mode(self, request: web.Request) -> web.Response:
        """Set the mode: serve, 429, hang or refuse."""
        body = await request.json()
        async with self.changed:
            self.mode, self.retry_after = body["mode"], body.get("retry_after")
            self.changed.notify_all()
        await (self.close() if self.mode == "refuse" else self.open())
        return web.json_response({})

    async def set_login(self, request: web.Request) -> web.Response:
        """Set the user and password that every request must have."""
        body = await request.json()
        self.login = "Basic " + base64.b64encode(f"{body['user']}:{body['password']}".encode()).decode()
        return web.json_response({})

    async def list_requests(self, _: web.Request) -> web.Response:
        """Return the requests since the start or since they were cleared."""
        return web.json_response(self.requests)

    async def forget_requests(self, _: web.Request) -> web.Response:
        """Clear the list of requests."""
        self.requests.clear()
        return web.json_response({})

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        async with self.session.request(
            request.method,
            self.upstream + request.path_qs,
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
        ) as response:
            kept = [(key, value) for key, value in response.headers.items() if key.lower() not in HOP_BY_HOP]
            return web.Response(status=response.status, headers=dict(kept), body=await response.read())


def _error(status: int, code: str, headers: dict[str, str]) -> web.Response:
    body = {"errors": [{"code": code, "message": "injected fault"}]}
    return web.json_response(body, status=status, headers=headers)


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m testbed.registry_proxy", description=__doc__)
    for name in ("port", "control", "store"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(arguments.certificate)
    async with ClientSession(auto_decompress=False) as session:
        proxy = Proxy(session, f"http://{LOOPBACK}:{arguments.store}", arguments.port, tls)
        control = web.Application()
        control.add_routes(
            [
                web.put("/mode", proxy.set_mode),
                web.put("/login", proxy.set_login),
                web.get("/requests", proxy.list_requests),
                web.delete("/requests", proxy.forget_requests),
            ]
        )
        runner = web.AppRunner(control, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, arguments.control).start()
        await proxy.open()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
