"""The binaries of the testbed: where they come from, and errors of their build."""

import subprocess
import sys
from pathlib import Path

import pytest

from testbed import binaries

ENSURE_ETCD = [sys.executable, "-c", "from testbed import binaries; print(binaries.ensure('etcd')['etcd'])"]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a PATH without Go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("HELM", raising=False)
    path = tmp_path / "path"
    path.mkdir()
    monkeypatch.setenv("PATH", f"{path}:/bin:/usr/bin")
    return path


def write_fake_go(folder: Path, script: str) -> None:
    """Write a shell script named go, which replaces the Go compiler."""
    program = folder / "go"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_binaries_report_the_pinned_versions() -> None:
    tools = binaries.ensure("kubectl", "helm", "kube-apiserver")
    versions = {
        name: subprocess.run([tools[name], *args], capture_output=True, text=True, check=True).stdout.strip()
        for name, args in (
            ("kubectl", ("version", "--client")),
            ("helm", ("version", "--template", "{{ .Version }}")),
            ("kube-apiserver", ("--version",)),
        )
    }
    assert versions["kubectl"].startswith("Client Version: v1.35.4\n")
    assert versions["helm"] == "v4.3.1"
    assert versions["kube-apiserver"] == "Kubernetes v1.35.4"


def test_binaries_selected_by_the_environment_are_used(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fake_go(empty_cache, "exit 1")
    for name in ("etcd", "kubectl", "my-helm"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("HELM", str(tmp_path / "my-helm"))
    assert binaries.ensure("etcd", "kubectl", "helm") == {
        "etcd": tmp_path / "etcd",
        "kubectl": tmp_path / "kubectl",
        "helm": tmp_path / "my-helm",
    }


def test_an_invalid_helm_variable_is_reported(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM", str(empty_cache / "nothing"))
    with pytest.raises(binaries.BuildError, match=r"HELM=.*nothing: not an executable program"):
        binaries.ensure("helm")


def test_a_missing_go_is_reported(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(empty_cache))
    with pytest.raises(binaries.BuildError, match="cannot build etcd: go not found on PATH; install Go"):
        binaries.ensure("etcd")


def test_a_failed_build_shows_its_log(empty_cache: Path) -> None:
    write_fake_go(empty_cache, "echo 'main.go:1: does not compile'; exit 1")
    with pytest.raises(binaries.BuildError, match=r"go build of etcd failed:\nmain\.go:1: does not compile"):
        binaries.ensure("etcd")


def test_concurrent_processes_build_only_once(empty_cache: Path, tmp_path: Path) -> None:
    # The arguments are: build -trimpath -ldflags LINK -o TARGET PACKAGE
    write_fake_go(empty_cache, f'echo built >> {tmp_path}/log; sleep 0.5; echo program > "$6"; chmod +x "$6"')
    processes = [subprocess.Popen(ENSURE_ETCD, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=30)[0].strip() for process in processes}
    assert paths == {str(binaries.folder() / "etcd")}
    assert (binaries.folder() / "etcd").read_text() == "program\n"
    assert (tmp_path / "log").read_text() == "built\n"
