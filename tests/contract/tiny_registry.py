"""A web server behind TLS that answers as a function says: what no well-made registry would do."""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import trustme


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    host: str
    authorization: str | None


@dataclass(frozen=True)
class Answer:
    """What is said to it: the parts of the body one after the other."""

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TinyRegistry:
    """Where it listens, and what it was asked."""

    port: int
    asked: Sequence[Asked]

    @property
    def ref(self) -> str:
        """A chart's reference."""
        return f"oci://127.0.0.1:{self.port}/eks/cilium/cilium"

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self.port}"


@contextmanager
def serve(certificate: Path | None, answer: Callable[[Asked], Answer]) -> Iterator[TinyRegistry]:
    """Answer until the end; without TLS where there is no certificate."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(Asked(self.path, self.headers.get("Host", ""), self.headers.get("Authorization")))
            said = answer(asked[-1])
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for part in [said.body] if isinstance(said.body, bytes) else said.body:
                    self.wfile.write(part)
            except OSError:
                # Who asked had enough.
                self.close_connection = True

        do_CONNECT = do_GET  # noqa: N815 - the name is the standard library's

        def log_message(self, *_: object) -> None:
            """Keep silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield TinyRegistry(server.server_port, asked)
        finally:
            server.shutdown()
            thread.join()


def make_certificates(folder: Path) -> tuple[Path, Path]:
    """The authority's certificate, and the server's with its key."""
    authority, server = folder / "ca.pem", folder / "server.pem"
    ca = trustme.CA()
    ca.cert_pem.write_to_path(authority)
    ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(server)
    return authority, server
