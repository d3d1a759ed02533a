"""A small blocking client of the Kubernetes API, for what is done many times or must be fast."""

import json
import socket
import ssl
import threading
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from testbed.processes import CommandError

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


class ApiError(CommandError):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.body = message


class Api:
    """Requests as one user; each thread has a connection that is kept until `close`."""

    def __init__(self, port: int, ca: Path, token: str) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "testbed"}
        self._of_thread = threading.local()
        self._connections: list[_Connection] = []

    def request(
        self, verb: str, path: str, body: Any = None, *, kind: str = "application/json", timeout: float = 30.0
    ) -> Any:
        """Return the answer's JSON, or its text where it is none; raise `ApiError` when refused."""
        headers = self._headers | ({"Content-Type": kind} if body is not None else {})
        connection = self._connection(timeout)
        try:
            connection.request(verb, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, HTTPException) as error:
            # The next request opens it again.
            connection.close()
            raise OSError(f"{verb} {path}: {error!r}") from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ApiError(answer.status, text)
        try:
            return json.loads(text)
        except ValueError:
            return text

    def get(self, path: str) -> Any:
        """Return an object, or None where there is none."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def close(self) -> None:
        """Close every connection; a later request opens one again."""
        for connection in self._connections:
            connection.close()

    def _connection(self, timeout: float) -> "_Connection":
        connection: _Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = _Connection("127.0.0.1", self._port, self._tls)
            self._of_thread.connection = connection
            self._connections.append(connection)
        connection.timeout = timeout
        return connection


class _Connection(HTTPSConnection):
    """A connection that is closed properly even where the other side resets it before the handshake."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(host, port)
        self._tls = tls

    def connect(self) -> None:
        """Wrap first and connect then: the other way round ssl loses its socket on a reset."""
        self.sock = self._tls.wrap_socket(socket.socket(), server_hostname=self.host)
        self.sock.settimeout(self.timeout)
        # Head and body are sent apart, and without this the body waits 40 ms for the answer to the head.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect((self.host, self.port))
