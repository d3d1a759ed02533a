"""An OCI registry on loopback with its own CA, which can simulate the faults of a registry."""

import json
import ssl
import sys
import urllib.request
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
import yaml

from testbed import binaries
from testbed.processes import Process, end_recorded, free_port, record, recorded, run, start_on_free_port

START_LIMIT = 30.0
REPOSITORY = "eks/cilium"
CHART = "cilium"
HTTP_CONTROL = 10.0


class Registry:
    """A registry with TLS, created with `start` or `attach`; `stop` or leaving its context ends it."""

    def __init__(self, folder: Path, port: int, control: int, processes: list[Process]) -> None:
        self.folder = folder
        self.url = f"127.0.0.1:{port}"
        self.ca_file = folder / "ca.pem"
        self._control = control
        self._processes = processes

    @classmethod
    def start(cls, folder: Path, *, detached: bool = False) -> Self:
        """Start an empty registry and wait until it responds; a detached one outlives this process."""
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        _make_certificates(folder)
        store, store_port = start_on_free_port(
            lambda port: _store(folder, port, detached=detached), _responds, timeout=START_LIMIT
        )
        try:
            tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
            controls: dict[int, int] = {}

            def build(port: int) -> Process:
                controls[port] = free_port()
                return _proxy(folder, port, controls[port], store_port, detached=detached)

            proxy, port = start_on_free_port(
                build,
                lambda port: _responds(port, tls),
                timeout=START_LIMIT,
            )
        except BaseException:
            store.kill()
            raise
        registry = cls(folder, port, controls[port], [store, proxy])
        registry.forget_requests()
        (folder / "ports.json").write_text(json.dumps([port, controls[port]]))
        if detached:
            record(folder, registry._processes)
        return registry

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """Return the registry that was started detached in this directory."""
        folder = folder.resolve()
        port, control = json.loads((folder / "ports.json").read_text())
        return cls(folder, port, control, list(recorded(folder).values()))

    def stop(self) -> None:
        """End the registry's processes."""
        for process in reversed(self._processes):
            process.kill()
        end_recorded(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def ref(self) -> str:
        """The OCI reference of the chart, as for Helm."""
        return f"oci://{self.url}/{REPOSITORY}/{CHART}"

    @property
    def env(self) -> dict[str, str]:
        """The environment with which helm trusts this registry and uses directories of its own."""
        homes = {f"HELM_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return homes | {"SSL_CERT_FILE": str(self.ca_file)}

    def push(self, chart_archive: Path) -> None:
        """Push a packaged chart; it must be named `cilium` to be available as `ref`."""
        helm = binaries.ensure("helm")["helm"]
        run([helm, "push", chart_archive, f"oci://{self.url}/{REPOSITORY}"], env=self.env)

    @property
    def requests(self) -> list[tuple[str, str]]:
        """The method and path of every request since the start or since `forget_requests`."""
        return [(method, path) for method, path in self._control_request("GET", "/requests")]

    def forget_requests(self) -> None:
        """Clear the list of requests."""
        self._control_request("DELETE", "/requests")

    def serve(self) -> None:
        """End every fault; hanging requests get their response now."""
        self._control_request("PUT", "/mode", {"mode": "serve"})

    def answer_429(self, *, retry_after: int | None = None) -> None:
        """Respond to every request with 429 Too Many Requests."""
        self._control_request("PUT", "/mode", {"mode": "429", "retry_after": retry_after})

    def hang(self) -> None:
        """Accept requests, but do not respond."""
        self._control_request("PUT", "/mode", {"mode": "hang"})

    def refuse(self) -> None:
        """Refuse connections and close the open ones."""
        self._control_request("PUT", "/mode", {"mode": "refuse"})

    def require_login(self, user: str, password: str) -> None:
        """Require basic authentication with this user and password."""
        self._control_request("PUT", "/login", {"user": user, "password": password})

    def _control_request(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._control}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=HTTP_CONTROL) as response:  # noqa: S310 - the scheme is fixed
            return json.load(response)


def _store(folder: Path, port: int, *, detached: bool) -> Process:
    config = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        # With relative URLs, redirects lead the client back to the proxy.
        "http": {"addr": f"127.0.0.1:{port}", "relativeurls": True},
    }
    path = folder / "store.yaml"
    path.write_text(yaml.safe_dump(config))
    program = binaries.ensure("registry")["registry"]
    # The default exporter would send traces to a collector.
    env = {"OTEL_TRACES_EXPORTER": "none"}
    return Process("store", [str(program), "serve", str(path)], folder, env, detached=detached)


def _proxy(folder: Path, port: int, control: int, store_port: int, *, detached: bool) -> Process:
    argv = [sys.executable, "-m", "testbed.registry_proxy", f"--port={port}", f"--control={control}"]
    argv += [f"--store={store_port}", f"--certificate={folder / 'server.pem'}"]
    env = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return Process("proxy", argv, folder, env, detached=detached)


def _responds(port: int, tls: ssl.SSLContext | None = None) -> bool:
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v2/"
    with urllib.request.urlopen(url, context=tls, timeout=5) as response:  # noqa: S310 - the scheme is fixed
        return bool(response.status == HTTPStatus.OK)


def _make_certificates(folder: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
