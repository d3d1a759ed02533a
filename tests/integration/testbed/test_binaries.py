"""The programs of the testbed: where they come from, and what happens when they cannot be built."""

import subprocess
import sys
from pathlib import Path

import pytest

from testbed import binaries

ENSURE_ETCD = [sys.executable, "-c", "from testbed import binaries; print(binaries.ensure('etcd')['etcd'])"]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without any program, and a PATH without Go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("HELM", raising=False)
    path = tmp_path / "path"
    path.mkdir()
    monkeypatch.setenv("PATH", f"{path}:/bin:/usr/bin")
    return path


def compiler(folder: Path, script: str) -> None:
    """Put a program called go on the PATH; what is asked is our behaviour, not Go's."""
    program = folder / "go"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_every_program_says_the_version_that_was_asked_for() -> None:
    tools = binaries.ensure("kubectl", "helm", "kube-apiserver")
    said = {
        name: subprocess.run([tools[name], *words], capture_output=True, text=True, check=True).stdout.strip()
        for name, words in (
            ("kubectl", ("version", "--client")),
            ("helm", ("version", "--template", "{{ .Version }}")),
            ("kube-apiserver", ("--version",)),
        )
    }
    assert said["kubectl"].startswith("Client Version: v1.35.4\n")
    assert said["helm"] == "v4.3.1"
    assert said["kube-apiserver"] == "Kubernetes v1.35.4"


def test_programs_of_the_environment_are_used(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(empty_cache, "exit 1")
    for name in ("etcd", "kubectl", "my-helm"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("HELM", str(tmp_path / "my-helm"))
    assert binaries.ensure("etcd", "kubectl", "helm") == {
        "etcd": tmp_path / "etcd",
        "kubectl": tmp_path / "kubectl",
        "helm": tmp_path / "my-helm",
    }


def test_a_wrong_helm_is_said(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM", str(empty_cache / "nothing"))
    with pytest.raises(binaries.BuildError, match=r"HELM names .*nothing, which is no program"):
        binaries.ensure("helm")


def test_go_that_is_missing_is_said(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(empty_cache))
    with pytest.raises(binaries.BuildError, match="there is no Go on PATH"):
        binaries.ensure("etcd")


def test_a_failed_build_shows_its_log(empty_cache: Path) -> None:
    compiler(empty_cache, "echo 'main.go:1: does not compile'; exit 1")
    with pytest.raises(binaries.BuildError, match=r"go build of etcd failed:\nmain\.go:1: does not compile"):
        binaries.ensure("etcd")


def test_two_that_ask_at_once_build_once(empty_cache: Path, tmp_path: Path) -> None:
    # The arguments are: build -trimpath -ldflags LINK -o TARGET PACKAGE
    compiler(empty_cache, f'echo built >> {tmp_path}/log; sleep 0.5; echo program > "$6"; chmod +x "$6"')
    both = [subprocess.Popen(ENSURE_ETCD, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=30)[0].strip() for process in both}
    assert said == {str(binaries.folder() / "etcd")}
    assert (binaries.folder() / "etcd").read_text() == "program\n"
    assert (tmp_path / "log").read_text() == "built\n"
