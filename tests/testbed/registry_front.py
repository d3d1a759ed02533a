"""The TLS front of the registry, which can fail on demand; `Registry` starts it."""

import argparse
import asyncio
import base64
import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, web

LOOPBACK = "127.0.0.1"
# These belong to one connection, not to the message.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})
LARGEST_BLOB = 64 << 20


@dataclass
class Front:
    """Passes requests on to the registry, unless it was told to fail."""

    session: ClientSession
    behind: str
    port: int
    tls: ssl.SSLContext
    mode: str = "serve"
    retry_after: int | None = None
    login: str | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen, unless that is so already."""
        if self.runner is None:
            app = web.Application(client_max_size=LARGEST_BLOB)
            app.router.add_route("*", "/{path:.*}", self.answer)
            self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await self.runner.setup()
            await web.TCPSite(self.runner, LOOPBACK, self.port, ssl_context=self.tls).start()

    async def close(self) -> None:
        """Stop to listen, and drop the connections that are open."""
        if self.runner is not None:
            runner, self.runner = self.runner, None
            await runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request as the mode says."""
        self.requests.append((request.method, request.path_qs))
        async with self.changed:
            await self.changed.wait_for(lambda: self.mode != "hang")
        if self.mode == "429":
            headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
            return _error(429, "TOOMANYREQUESTS", headers)
        if self.login is not None and request.headers.get("Authorization") != self.login:
            return _error(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="testbed"'})
        return await self._pass_on(request)

    async def set_mode(self, request: web.Request) -> web.Response:
        """Take the order to serve or to fail from now on."""
        order = await request.json()
        async with self.changed:
            self.mode, self.retry_after = order["mode"], order.get("retry_after")
            self.changed.notify_all()
        await (self.close() if self.mode == "refuse" else self.open())
        return web.json_response({})

    async def set_login(self, request: web.Request) -> web.Response:
        """Take the only user there shall be."""
        order = await request.json()
        self.login = "Basic " + base64.b64encode(f"{order['user']}:{order['password']}".encode()).decode()
        return web.json_response({})

    async def list_requests(self, _: web.Request) -> web.Response:
        """Tell which requests came."""
        return web.json_response(self.requests)

    async def forget_requests(self, _: web.Request) -> web.Response:
        """Forget which requests came."""
        self.requests.clear()
        return web.json_response({})

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        async with self.session.request(
            request.method,
            self.behind + request.path_qs,
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            kept = [(key, value) for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP]
            return web.Response(status=answer.status, headers=dict(kept), body=await answer.read())


def _error(status: int, code: str, headers: dict[str, str]) -> web.Response:
    body = {"errors": [{"code": code, "message": "as the test asked"}]}
    return web.json_response(body, status=status, headers=headers)


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m testbed.registry_front", description=__doc__)
    for name in ("port", "control", "behind"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    spec_digest = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(spec_digest.certificate)
    async with ClientSession(auto_decompress=False) as session:
        front = Front(session, f"http://{LOOPBACK}:{spec_digest.behind}", spec_digest.port, tls)
        control = web.Application()
        control.add_routes(
            [
                web.put("/mode", front.set_mode),
                web.put("/login", front.set_login),
                web.get("/requests", front.list_requests),
                web.delete("/requests", front.forget_requests),
            ]
        )
        runner = web.AppRunner(control, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, spec_digest.control).start()
        await front.open()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
