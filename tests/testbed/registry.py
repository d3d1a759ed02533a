"""An OCI registry on loopback that Helm trusts by a CA file, and that fails in the ways a registry can."""

import json
import ssl
import sys
import urllib.request
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
    """A registry behind TLS; made by `start` or `attach`, ended by `stop` or by leaving its context."""

    def __init__(self, folder: Path, port: int, control: int, processes: list[Process]) -> None:
        self.folder = folder
        self.url = f"127.0.0.1:{port}"
        self.ca_file = folder / "ca.pem"
        self._control = control
        self._processes = processes

    @classmethod
    def start(cls, folder: Path, *, detached: bool = False) -> Self:
        """Start an empty registry and wait until it answers; detached, it outlives this process."""
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        _make_certificates(folder)
        store, behind = start_on_free_port(
            lambda port: _store(folder, port, detached=detached), _answers, timeout=START_LIMIT
        )
        try:
            tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
            controls: dict[int, int] = {}

            def build(port: int) -> Process:
                controls[port] = free_port()
                return _front(folder, port, controls[port], behind, detached=detached)

            front, port = start_on_free_port(
                build,
                lambda port: _answers(port, tls),
                timeout=START_LIMIT,
            )
        except BaseException:
            store.kill()
            raise
        registry = cls(folder, port, controls[port], [store, front])
        registry.forget_requests()
        (folder / "ports.json").write_text(json.dumps([port, controls[port]]))
        if detached:
            record(folder, registry._processes)
        return registry

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """Return the registry that was started detached in this folder."""
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
        """The chart's reference, as Helm takes it."""
        return f"oci://{self.url}/{REPOSITORY}/{CHART}"

    @property
    def env(self) -> dict[str, str]:
        """What helm needs in its environment to trust this registry and to keep to its folder."""
        homes = {f"HELM_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return homes | {"SSL_CERT_FILE": str(self.ca_file)}

    def push(self, chart_archive: Path) -> None:
        """Push a packaged chart; its name must be `cilium` to be found under `ref`."""
        helm = binaries.ensure("helm")["helm"]
        run([helm, "push", chart_archive, f"oci://{self.url}/{REPOSITORY}"], env=self.env)

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of every request since the start or since `forget_requests`."""
        return [(method, path) for method, path in self._ask("GET", "/requests")]

    def forget_requests(self) -> None:
        """Begin the list of requests anew."""
        self._ask("DELETE", "/requests")

    def serve(self) -> None:
        """Answer as a registry should; requests that hang are answered now."""
        self._ask("PUT", "/mode", {"mode": "serve"})

    def answer_429(self, *, retry_after: int | None = None) -> None:
        """Answer everything with "too many requests"."""
        self._ask("PUT", "/mode", {"mode": "429", "retry_after": retry_after})

    def hang(self) -> None:
        """Take requests, and answer none."""
        self._ask("PUT", "/mode", {"mode": "hang"})

    def refuse(self) -> None:
        """Refuse connections and drop those that are open."""
        self._ask("PUT", "/mode", {"mode": "refuse"})

    def require_login(self, user: str, password: str) -> None:
        """Answer only who sends these by basic authentication."""
        self._ask("PUT", "/login", {"user": user, "password": password})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._control}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=HTTP_CONTROL) as answer:  # noqa: S310 - the same
            return json.load(answer)


def _store(folder: Path, port: int, *, detached: bool) -> Process:
    config = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        # Locations must lead the client back to the front, not here.
        "http": {"addr": f"127.0.0.1:{port}", "relativeurls": True},
    }
    path = folder / "store.yaml"
    path.write_text(yaml.safe_dump(config))
    program = binaries.ensure("registry")["registry"]
    # It would send its traces to a collector.
    quiet = {"OTEL_TRACES_EXPORTER": "none"}
    return Process("store", [str(program), "serve", str(path)], folder, quiet, detached=detached)


def _front(folder: Path, port: int, control: int, behind: int, *, detached: bool) -> Process:
    argv = [sys.executable, "-m", "testbed.registry_front", f"--port={port}", f"--control={control}"]
    argv += [f"--behind={behind}", f"--certificate={folder / 'server.pem'}"]
    path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return Process("front", argv, folder, path, detached=detached)


def _answers(port: int, tls: ssl.SSLContext | None = None) -> bool:
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v2/"
    with urllib.request.urlopen(url, context=tls, timeout=5) as answer:  # noqa: S310 - the scheme is fixed
        return bool(answer.status == 200)


def _make_certificates(folder: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
