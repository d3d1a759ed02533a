"""A web server with TLS that answers as a function decides, for answers that no real registry gives."""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import trustme


@dataclass(frozen=True)
class Request:
    """A request."""

    path: str
    host: str
    authorization: str | None


@dataclass(frozen=True)
class Answer:
    """An answer; the parts of its body are sent one by one."""

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TinyRegistry:
    """A running server and the requests that it received."""

    port: int
    requests: Sequence[Request]

    @property
    def ref(self) -> str:
        """The reference of a chart."""
        return f"oci://127.0.0.1:{self.port}/eks/cilium/cilium"

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"https://127.0.0.1:{self.port}"


@contextmanager
def serve(certificate: Path | None, answer: Callable[[Request], Answer]) -> Iterator[TinyRegistry]:
    """Serve until exit; without TLS if there is no certificate."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(Request(self.path, self.headers.get("Host", ""), self.headers.get("Authorization")))
            response = answer(requests[-1])
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for part in [response.body] if isinstance(response.body, bytes) else response.body:
                    self.wfile.write(part)
            except OSError:
                # The client closed the connection.
                self.close_connection = True

        do_CONNECT = do_GET  # noqa: N815 - the name is the standard library's

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield TinyRegistry(server.server_port, requests)
        finally:
            server.shutdown()
            thread.join()


def make_certificates(directory: Path) -> tuple[Path, Path]:
    """Return the files of the CA certificate, and of the server certificate with its key."""
    authority, server = directory / "ca.pem", directory / "server.pem"
    ca = trustme.CA()
    ca.cert_pem.write_to_path(authority)
    ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(server)
    return authority, server
