"""The file in memory from which a post-renderer reads what was judged."""

import asyncio
import fcntl
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builders import DIGEST, VERSION
from cilium_hybrid.adapters.helm import upgrade
from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.ports import FetchedChart

GET_SEALS = 1034
SEAL_EXEC = 0x20
CHART = FetchedChart(Path("/nowhere"), VERSION, DIGEST)


def a_helm(folder: Path, script: str) -> HelmCommand:
    path = folder / "helm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return HelmCommand(path, folder, lambda *_: None)


@contextmanager
def no_more_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_a_file_in_memory_helm_fails_instead_of_the_reconciliation(tmp_path: Path) -> None:
    async def scenario() -> None:
        helm = a_helm(tmp_path, "exit 0")
        with no_more_files(), pytest.raises(HelmError, match="cannot create a file in memory: Too many open files"):
            await upgrade.render(helm, RELEASE, CHART, {})

    asyncio.run(scenario())


def test_the_file_in_memory_cannot_be_executed_and_is_closed(tmp_path: Path) -> None:
    """With the sysctl vm.memfd_noexec=2 the kernel creates no other file in memory."""
    helm = a_helm(
        tmp_path, f'for a; do case $a in --post-renderer-args=/proc*) ls -l "${{a#*=}}" > {tmp_path}/seen;; esac; done'
    )
    before = len(list(Path("/proc/self/fd").iterdir()))
    with upgrade.memory_file(b"x") as (descriptor, path):
        assert fcntl.fcntl(descriptor, GET_SEALS) & SEAL_EXEC
        assert Path(path).read_bytes() == b"x"
    asyncio.run(upgrade.render(helm, RELEASE, CHART, {}))

    assert "memfd:rendered" in (tmp_path / "seen").read_text()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
