"""A small blocking Kubernetes client, for frequent requests that would be too slow with kubectl."""

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
    """The API server rejected a request; `status` is the HTTP status code, `body` its response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.body = message


class Api:
    """Requests as one user; each thread has a connection, which is kept open until `close`."""

    def __init__(self, port: int, ca: Path, token: str) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "testbed"}
        self._local = threading.local()
        self._connections: list[_Connection] = []

    def request(
        self, verb: str, path: str, body: Any = None, *, kind: str = "application/json", timeout: float = 30.0
    ) -> Any:
        """Return the parsed JSON of the response, or its text if it is not JSON; raise `ApiError` if rejected."""
        headers = self._headers | ({"Content-Type": kind} if body is not None else {})
        connection = self._connection(timeout)
        try:
            content = None if body is None else json.dumps(body)
            try:
                connection.request(verb, path, content, headers)
            except OSError:
                # The server closes connections that are idle for long; what could not be sent, it has not received.
                connection.close()
                connection.request(verb, path, content, headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, HTTPException) as error:
            # The next request opens a new connection.
            connection.close()
            raise OSError(f"{verb} {path}: {error!r}") from error
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise ApiError(response.status, text)
        try:
            return json.loads(text)
        except ValueError:
            return text

    def get(self, path: str) -> Any:
        """Return an object, None if it does not exist."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def delete(self, path: str, options: Any = None) -> None:
        """Delete an object unless it is gone already."""
        try:
            self.request("DELETE", path, options)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def close(self) -> None:
        """Close all connections; a later request opens a new one."""
        for connection in self._connections:
            connection.close()

    def _connection(self, timeout: float) -> "_Connection":
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _Connection("127.0.0.1", self._port, self._tls)
            self._local.connection = connection
            self._connections.append(connection)
        connection.timeout = timeout
        return connection


class _Connection(HTTPSConnection):
    """A connection that is closed properly even if the server resets it before the handshake."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(host, port)
        self._tls = tls

    def connect(self) -> None:
        """Wrap the socket before connecting: the other way round, ssl leaks the socket on a reset."""
        self.sock = self._tls.wrap_socket(socket.socket(), server_hostname=self.host)
        self.sock.settimeout(self.timeout)
        # Header and body are sent separately; with Nagle's algorithm, the body would wait 40 ms for the ACK.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect((self.host, self.port))
