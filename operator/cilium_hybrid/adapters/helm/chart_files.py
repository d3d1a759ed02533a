"""The files of a chart, read within limits: an archive or a directory is whatever someone put there."""

import gzip
import hashlib
import io
import os
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MAX_ARCHIVE: Final = 8 << 20
"""In bytes, compressed. Cilium's charts take 200 KB."""
MAX_CHART: Final = 16 << 20
"""In bytes, of all files together. Cilium's charts take 1.5 MB, and Helm's Secret of a release holds one MiB."""
MAX_FILE: Final = 5 << 20
"""In bytes, of one file; Helm has the same limit."""
MAX_ENTRIES: Final = 2_000
"""Files and directories. Cilium's charts have 170."""
_MAX_EXTENSION: Final = 64 << 10
"""In bytes, of one extended header, such as a long name."""
_MAX_PATH: Final = 100
"""In characters, of a path in a message."""
_EXTENSIONS: Final = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES}
_CHUNK: Final = 64 << 10
_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
}


class InvalidChartError(Exception):
    """The files are no chart, or exceed a limit; the message completes the sentence "<path> …"."""


@dataclass(frozen=True, slots=True)
class ChartFiles:
    """The requested files of a chart by their path within it, and the SHA-256 of all of them."""

    content: dict[str, bytes]
    digest: str


def read_chart(path: Path, name: str, wanted: frozenset[str]) -> ChartFiles:
    """Read an archive, whose files are in a directory `name`, or a directory; OSError, InvalidChartError."""
    if path.is_dir():
        return _read_directory(path, wanted)
    archive = read_file(path, MAX_ARCHIVE)
    digest = hashlib.sha256(f".\0{len(archive)}\0".encode())
    digest.update(archive)
    return ChartFiles(unpack(archive, name, wanted), f"sha256:{digest.hexdigest()}")


def read_file(path: Path, limit: int, *, follow_links: bool = True) -> bytes:
    """Read a regular file of at most `limit` bytes, without ever waiting for a writer; OSError, InvalidChartError."""
    # Opening a device may have effects, so its kind is checked before as well as after.
    _require_regular(path.stat(follow_symlinks=follow_links))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW))
    try:
        found = os.fstat(descriptor)
        _require_regular(found)
        content = bytearray()
        while found.st_size <= limit and (chunk := os.read(descriptor, _CHUNK)):
            content += chunk
            if len(content) > limit:
                break
        if found.st_size > limit or len(content) > limit:
            raise InvalidChartError(f"is larger than {_mib(limit)}")
        return bytes(content)
    finally:
        os.close(descriptor)


def unpack(archive: bytes, name: str, wanted: frozenset[str]) -> dict[str, bytes]:
    """Read a whole archive, and return the wanted files in its directory `name`; InvalidChartError."""
    stream = _Bounded(fileobj=io.BytesIO(archive))
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Entry) as opened:
            for entry in opened:
                entry_path = posixpath.normpath(entry.name)
                _check_entry(entry, entry_path, seen)
                seen.add(entry_path)
                relative = entry_path.removeprefix(f"{name}/")
                inside = relative != entry_path and relative in wanted
                if inside and entry.isreg() and (file := opened.extractfile(entry)) is not None:
                    found[relative] = file.read()
        # The checksum of gzip is at the end, after the padding of the archive.
        while stream.read(_CHUNK):
            pass
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError, LookupError, RecursionError):
        raise InvalidChartError("is not a gzip-compressed tar archive, or is damaged") from None
    return found


class _Entry(tarfile.TarInfo):
    """Refuses what tarfile would read into memory whatever its size: long extended headers and maps of sparse files."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _EXTENSIONS and self.size > _MAX_EXTENSION:
            raise tarfile.ReadError("the header is too long")
        return super()._proc_member(archive)  # type: ignore[misc] # typeshed omits it; a test covers the limit

    def _proc_gnusparse_10(self, *_: Any) -> None:
        raise tarfile.ReadError("the file is sparse")


class _Bounded(gzip.GzipFile):
    """A compressed stream that ends with an error after as many bytes as a chart may have."""

    _remaining = MAX_CHART

    def read(self, size: int | None = -1) -> bytes:
        """Read at most `size` bytes; InvalidChartError."""
        content = super().read(size)
        self._remaining -= len(content)
        if self._remaining < 0:
            raise InvalidChartError(f"unpacks to more than {_mib(MAX_CHART)}")
        return content


def _check_entry(entry: tarfile.TarInfo, path: str, seen: set[str]) -> None:
    if not entry.isreg() and not entry.isdir():
        raise InvalidChartError(f"contains {_quoted(path)}, which is not a regular file")
    if path in seen and entry.isreg():
        # Whoever reads it next may take the other one.
        raise InvalidChartError(f"contains {_quoted(path)} twice")
    if entry.size > MAX_FILE:
        raise InvalidChartError(f"contains {_quoted(path)}, which is larger than {_mib(MAX_FILE)}")
    if len(seen) >= MAX_ENTRIES:
        raise InvalidChartError(f"contains more than {MAX_ENTRIES} files")


def _read_directory(path: Path, wanted: frozenset[str]) -> ChartFiles:
    content: dict[str, bytes] = {}
    digest, remaining = hashlib.sha256(), MAX_CHART
    for file in sorted(_files(path)):
        relative = file.relative_to(path)
        try:
            found = read_file(file, MAX_FILE)
        except InvalidChartError as error:
            raise InvalidChartError(f"contains {_quoted(str(relative))}, which {error}") from None
        remaining -= len(found)
        if remaining < 0:
            raise InvalidChartError(f"contains more than {_mib(MAX_CHART)}")
        digest.update(os.fsencode(relative) + f"\0{len(found)}\0".encode())
        digest.update(found)
        if str(relative) in wanted:
            content[str(relative)] = found
    return ChartFiles(content, f"sha256:{digest.hexdigest()}")


def _files(path: Path) -> Iterator[Path]:
    """Return whatever is no directory below a directory, through symbolic links, as Helm does; InvalidChartError."""
    entries, pending = 0, [(path, frozenset[tuple[int, int]]())]
    while pending:
        directory, above = pending.pop()
        found = directory.stat()
        identity = (found.st_dev, found.st_ino)
        if identity in above:
            raise InvalidChartError(f"contains {_quoted(str(directory.relative_to(path)))}, a loop of symbolic links")
        with os.scandir(directory) as scanned:
            for entry in scanned:
                entries += 1
                if entries > MAX_ENTRIES:
                    raise InvalidChartError(f"contains more than {MAX_ENTRIES} files")
                if entry.is_dir():
                    pending.append((Path(entry.path), above | {identity}))
                else:
                    yield Path(entry.path)


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a special file")
        raise InvalidChartError(f"is {kind}, not a regular file")


def _quoted(path: str) -> str:
    """Return a path of a chart for a message; it may be of any length and contain anything."""
    if not path.isprintable():
        return "a file"
    return path if len(path) <= _MAX_PATH else f"{path[: _MAX_PATH - 1]}…"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.3g} MiB"
