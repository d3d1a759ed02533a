"""The registry and its faults, as helm observes them."""

import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import binaries
from testbed.processes import CommandError, run, wait_until
from testbed.registry import Registry

VERSION = "1.17.9-0"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    chart = folder / "cilium"
    chart.mkdir()
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: cilium\nversion: {VERSION}\n")
    run([binaries.ensure("helm")["helm"], "package", chart, "-d", folder], env={})
    with Registry.start(folder / "r") as registry:
        registry.push(folder / f"cilium-{VERSION}.tgz")
        yield registry


@pytest.fixture(autouse=True)
def _serving(registry: Registry) -> Iterator[None]:
    registry.forget_requests()
    yield
    registry.serve()


def show(registry: Registry, *, timeout: float = 30) -> str:
    helm = binaries.ensure("helm")["helm"]
    return run([helm, "show", "chart", registry.ref, "--version", VERSION], env=registry.env, timeout=timeout)


def test_helm_reads_a_pushed_chart(registry: Registry) -> None:
    assert f"version: {VERSION}" in show(registry)
    assert ("GET", f"/v2/eks/cilium/cilium/manifests/{VERSION}") in registry.requests


def test_the_certificate_is_trusted_only_with_its_ca(registry: Registry) -> None:
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://{registry.url}/v2/", timeout=5)


def test_answer_429_until_serve(registry: Registry) -> None:
    registry.answer_429(retry_after=1)
    with pytest.raises(CommandError, match="status code 429"):
        show(registry)
    assert len(registry.requests) > 1, "helm retries"
    registry.serve()
    assert show(registry)


def test_refuse_until_serve(registry: Registry) -> None:
    registry.refuse()
    with pytest.raises(CommandError, match="connection refused"):
        show(registry)
    registry.serve()
    assert show(registry)


def test_hanging_requests_get_their_response_after_serve(registry: Registry) -> None:
    registry.hang()
    with pytest.raises(subprocess.TimeoutExpired):
        show(registry, timeout=1)
    responses: list[str] = []
    client = threading.Thread(target=lambda: responses.append(show(registry)))
    registry.forget_requests()
    client.start()
    wait_until(lambda: registry.requests, timeout=10, what="the second request hangs")
    registry.serve()
    client.join(timeout=10)
    assert VERSION in responses[0]


def test_a_registry_can_require_a_login(tmp_path: Path) -> None:
    with Registry.start(tmp_path) as registry:
        registry.require_login("user", "a password")
        with pytest.raises(CommandError, match="basic credential not found"):
            show(registry)
        helm = binaries.ensure("helm")["helm"]
        login = [str(helm), "registry", "login", registry.url, "-u", "user", "--password-stdin"]
        run(login, env=registry.env, stdin="a password")
        with pytest.raises(CommandError, match="not found"):
            show(registry)
