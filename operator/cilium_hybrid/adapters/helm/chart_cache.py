"""Pulled charts on the operator's disk. What is damaged or incomplete is not there."""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cilium_hybrid.adapters.helm.chart_files import MAX_ARCHIVE, InvalidChartError, read_file
from cilium_hybrid.ports import FetchedChart

_STAGED: Final = ".pull-"
_STALE_SECONDS: Final = 3600.0
"""A pull takes a minute at most; what is older was left by a process that was killed."""
_DIGESTS: Final = re.compile(rb"(sha256:[a-f0-9]{64}) (sha256:[a-f0-9]{64})\n")
"""The digest under which the registry served the chart, and that of the archive, which differ."""


class ChartCache:
    """Charts by reference and version."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def find(self, ref: str, version: str) -> FetchedChart | None:
        """Return a chart if it is whole: an archive with the digest with which it was stored; OSError."""
        path = self._path(ref, version)
        try:
            digests = _DIGESTS.fullmatch(read_file(path / "digest", 200, follow_links=False))
            archive = read_file(path / "chart.tgz", MAX_ARCHIVE, follow_links=False)
        except (FileNotFoundError, NotADirectoryError, InvalidChartError):
            return None
        if digests is None or digests[2].decode() != _digest(archive):
            return None
        return FetchedChart(path / "chart.tgz", version, digests[1].decode())

    @contextmanager
    def staging(self, ref: str) -> Iterator[Path]:
        """Create a directory on the same disk, for a chart that is pulled; it is removed on exit; OSError."""
        parent = self._path(ref, "any").parent
        parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(parent)
        directory = Path(tempfile.mkdtemp(dir=parent, prefix=_STAGED))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def store(self, ref: str, version: str, archive: Path, digest: str) -> None:
        """Move an archive from the staging directory into the cache, with the digest of the registry; OSError.

        A process or a machine that dies meanwhile leaves the whole chart, a damaged one that `find` ignores, or none.
        """
        path = self._path(ref, version)
        staged = Path(tempfile.mkdtemp(dir=path.parent, prefix=_STAGED))
        try:
            content = read_file(archive, MAX_ARCHIVE, follow_links=False)
            _write(staged / "chart.tgz", content)
            _write(staged / "digest", f"{digest} {_digest(content)}\n".encode())
            _sync(staged)
            with suppress(FileNotFoundError):
                shutil.rmtree(path)
            staged.rename(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _path(self, ref: str, version: str) -> Path:
        return self.directory / "charts" / _hash(ref) / version


def _hash(ref: str) -> str:
    return hashlib.sha256(ref.encode()).hexdigest()[:16]


def _digest(archive: bytes) -> str:
    return f"sha256:{hashlib.sha256(archive).hexdigest()}"


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_stale(parent: Path) -> None:
    """Remove what processes that were killed have left, which would fill the disk."""
    for found in parent.glob(f"{_STAGED}*"):
        with suppress(OSError):
            if time.time() - found.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS:
                shutil.rmtree(found)
