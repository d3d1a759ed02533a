import gzip
import io
import itertools
import os
import random
import socket
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cilium_hybrid.adapters.helm.chart_files import (
    MAX_ARCHIVE,
    MAX_CHART,
    MAX_ENTRIES,
    MAX_FILE,
    InvalidChartError,
    read_chart,
    read_file,
)
from limited import run_limited

WANTED = frozenset({"Chart.yaml"})
METADATA = b"name: cilium\nversion: 1.17.9\n"
NOISE = random.Random(0)  # noqa: S311 # no secret
MIB = 1 << 20


def entry(name: str, content: bytes = b"", **fields: object) -> bytes:
    """Return an entry of an archive; `fields` are those of tarfile.TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    padding = b"\0" * (-len(content) % 512)
    return info.tobuf() + content + padding


def archive(*entries: bytes) -> bytes:
    return gzip.compress(entry("cilium/Chart.yaml", METADATA) + b"".join(entries) + b"\0" * 1024, mtime=0)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def directory(path: Path) -> Path:
    write(path / "Chart.yaml", METADATA)
    return path


def error_of(path: Path) -> str:
    with pytest.raises(InvalidChartError) as error:
        read_chart(path, "cilium", WANTED)
    return str(error.value)


def test_the_wanted_files_of_an_archive_and_its_digest(tmp_path: Path) -> None:
    one = read_chart(
        write(tmp_path / "one", archive(entry("cilium/x"), entry("x/Chart.yaml", b"no"))), "cilium", WANTED
    )
    other = read_chart(write(tmp_path / "other", archive()), "cilium", WANTED)

    assert one.content == other.content == {"Chart.yaml": METADATA}
    assert one.digest != other.digest


@pytest.mark.parametrize("name", ["./cilium/a", "cilium//a", "cilium/./a", "cilium/b/../a"])
def test_paths_in_archives_are_normalized(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "chart", archive(entry(name, b"content")))

    assert read_chart(path, "cilium", frozenset({"a"})).content == {"a": b"content"}


def test_long_names_and_directories_in_archives(tmp_path: Path) -> None:
    path, buffer = tmp_path / "chart", io.BytesIO()
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", format=form) as packed:
            for name, kind in (("cilium", tarfile.DIRTYPE), ("cilium/" + "é/" * 150 + "a", tarfile.REGTYPE)):
                info = tarfile.TarInfo(name)
                info.type = kind
                packed.addfile(info)
        found = read_chart(write(path, buffer.getvalue()), "cilium", frozenset({"é/" * 150 + "a"}))
        assert list(found.content.values()) == [b""]


def test_the_digest_of_a_directory_covers_names_that_are_not_utf8(tmp_path: Path) -> None:
    write(directory(tmp_path / "chart") / os.fsdecode(b"\xff"), b"")
    one = read_chart(tmp_path / "chart", "cilium", WANTED)
    (tmp_path / "chart" / os.fsdecode(b"\xff")).rename(tmp_path / "chart" / os.fsdecode(b"\xfe"))

    assert read_chart(tmp_path / "chart", "cilium", WANTED).digest != one.digest


def test_links_in_a_directory_are_followed(tmp_path: Path) -> None:
    """A ConfigMap is mounted like this."""
    write(tmp_path / "chart" / "..data" / "Chart.yaml", METADATA)
    write(tmp_path / "chart" / "..data" / "templates" / "a.yaml", b"one")
    for name in ("Chart.yaml", "templates"):
        (tmp_path / "chart" / name).symlink_to(f"..data/{name}")
    one = read_chart(tmp_path / "chart", "cilium", WANTED)
    write(tmp_path / "chart" / "..data" / "templates" / "a.yaml", b"two")

    assert one.content == {"Chart.yaml": METADATA}
    assert read_chart(tmp_path / "chart", "cilium", WANTED).digest != one.digest


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


SPECIAL: list[tuple[Callable[[Path], None], str]] = [
    (a_fifo, "is a FIFO, not a regular file"),
    (a_socket, "is a socket, not a regular file"),
    (a_device, "is a character device, not a regular file"),
]


@pytest.mark.parametrize(("make", "message"), SPECIAL)
def test_only_regular_files_are_read(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "chart")
    directory(tmp_path / "directory").joinpath("templates").mkdir()
    make(tmp_path / "directory" / "templates" / "a")

    assert error_of(tmp_path / "chart") == message
    assert error_of(tmp_path / "directory") == f"contains templates/a, which {message}"


def test_a_file_that_is_replaced_while_it_is_opened_is_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chart"
    os.mkfifo(path)
    regular = os.stat_result((stat.S_IFREG | 0o644, *[0] * 9))
    monkeypatch.setattr(Path, "stat", lambda *_, **__: regular)

    with pytest.raises(InvalidChartError, match=r"^is a FIFO"):
        read_file(path, 10)


def test_links_are_not_followed_on_request(tmp_path: Path) -> None:
    write(tmp_path / "file", b"content")
    (tmp_path / "link").symlink_to("file")

    assert read_file(tmp_path / "link", 10) == b"content"
    with pytest.raises(InvalidChartError, match=r"^is a symbolic link, not a regular file$"):
        read_file(tmp_path / "link", 10, follow_links=False)


def test_a_loop_of_directories_is_refused(tmp_path: Path) -> None:
    (directory(tmp_path / "chart") / "loop").symlink_to("..")

    assert error_of(tmp_path / "chart").endswith("a loop of symbolic links")


def test_directories_that_multiply_are_refused(tmp_path: Path) -> None:
    chart = directory(tmp_path / "chart")
    levels = [tmp_path / f"level{number}" for number in range(30)]
    for level, below in itertools.pairwise(levels):
        level.mkdir()
        for name in "ab":
            (level / name).symlink_to(below)
    levels[-1].mkdir()
    (chart / "templates").symlink_to(levels[0])

    assert error_of(chart) == f"contains more than {MAX_ENTRIES} files"


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_the_size_of_a_directory_is_limited(tmp_path: Path) -> None:
    chart = directory(tmp_path / "chart")
    sparse(chart / "a", MAX_FILE + 1)
    assert error_of(chart) == "contains a, which is larger than 5 MiB"

    for name in "abcd":
        sparse(chart / name, MAX_FILE)
    assert error_of(chart) == "contains more than 16 MiB"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is not a gzip-compressed tar archive, or is damaged", id="empty"),
        pytest.param(b"text", "is not a gzip-compressed tar archive, or is damaged", id="text"),
        pytest.param(gzip.compress(b""), "is not a gzip-compressed tar archive, or is damaged", id="nothing in gzip"),
        pytest.param(gzip.compress(b"text" * 500), "is not a gzip-compressed tar archive", id="text in gzip"),
        pytest.param(archive()[:-1], "is not a gzip-compressed tar archive, or is damaged", id="last byte missing"),
        pytest.param(archive()[:-8] + b"\0" * 8, "is not a gzip-compressed tar archive", id="wrong checksum"),
        pytest.param(
            archive(entry("cilium/a", b"x", linkname="/etc/passwd", type=tarfile.SYMTYPE)),
            "contains cilium/a, which is not a regular file",
            id="symbolic link",
        ),
        pytest.param(
            archive(entry("cilium/a", type=tarfile.LNKTYPE, linkname="cilium/Chart.yaml")),
            "contains cilium/a, which is not a regular file",
            id="hard link",
        ),
        pytest.param(
            archive(entry("cilium/a", type=tarfile.FIFOTYPE)),
            "contains cilium/a, which is not a regular file",
            id="FIFO",
        ),
        pytest.param(
            archive(entry("cilium/a\x1b[2J", type=tarfile.CHRTYPE)),
            "contains a file, which is not a regular file",
            id="unprintable name",
        ),
        pytest.param(
            archive(entry("./cilium/Chart.yaml", METADATA)), "contains cilium/Chart.yaml twice", id="file twice"
        ),
        pytest.param(
            archive(entry("cilium/a", b"\0" * (MAX_FILE + 1))),
            "contains cilium/a, which is larger than 5 MiB",
            id="large file",
        ),
        pytest.param(
            archive(*(entry(f"cilium/{number}") for number in range(MAX_ENTRIES))),
            f"contains more than {MAX_ENTRIES} files",
            id="many files",
        ),
        pytest.param(archive(b"\0" * MAX_CHART), "unpacks to more than 16 MiB", id="padding"),
        pytest.param(
            archive(*(entry(f"cilium/{name}", b"\0" * MAX_FILE) for name in "abcd")),
            "unpacks to more than 16 MiB",
            id="large files",
        ),
        pytest.param(NOISE.randbytes(MAX_ARCHIVE + 1), "is larger than 8 MiB", id="large archive"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert error_of(write(tmp_path / "chart", content)).startswith(message)


def records(size: int) -> bytes:
    """Return an extended header with as many different keys as fit."""
    found = (f"{len(str(number)) + 6} {number}=x\n".encode() for number in range(100_000, 100_000 + size // 12))
    return b"".join(found)


def bomb(size: int) -> bytes:
    """Return zeros, a thousand times smaller."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed:
        packed.write(entry("cilium/Chart.yaml", METADATA))
        for _ in range(size // MIB):
            packed.write(b"\0" * MIB)
    return buffer.getvalue()


SPARSE = b"8000000\n" + b"1\n" * (6 * MIB)
SPARSE_HEADER = b"".join(
    b"%d %s\n" % (len(record) + 4, record)
    for record in (b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.realsize=9", b"GNU.sparse.name=a")
)
HOSTILE: dict[str, Callable[[], bytes]] = {
    "zeros": lambda: bomb(256 * MIB),
    "extended header": lambda: archive(entry("x", records(14 * MIB), type=tarfile.XHDTYPE)),
    "global header": lambda: archive(entry("x", records(14 * MIB), type=tarfile.XGLTYPE)),
    "long name": lambda: archive(entry("x", b"a" * (14 * MIB), type=tarfile.GNUTYPE_LONGNAME)),
    "chain of long names": lambda: archive(*[entry("x", b"a", type=tarfile.GNUTYPE_LONGNAME)] * 5000),
    "map of a sparse file": lambda: archive(entry("x", SPARSE_HEADER, type=tarfile.XHDTYPE), entry("a", SPARSE)),
    "negative size": lambda: archive(entry("x", b"14 size=-1024\n", type=tarfile.XHDTYPE), entry("cilium/a", b"x")),
    "huge size": lambda: archive(entry("x", b"24 size=9999999999999999\n", type=tarfile.XHDTYPE), entry("cilium/a")),
    "size without digits": lambda: archive(entry("x", b"9 size=x\n", type=tarfile.XHDTYPE), entry("cilium/a")),
    "members of gzip": lambda: archive() + gzip.compress(b"") * 100_000,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_take_little_memory_and_time(tmp_path: Path, make: Callable[[], bytes]) -> None:
    path = write(tmp_path / "chart", make())
    imports = "from pathlib import Path\nfrom cilium_hybrid.adapters.helm import chart_files"
    code = """
try:
    chart_files.read_chart(Path(sys.argv[1]), "cilium", frozenset({"Chart.yaml"}))
except chart_files.InvalidChartError:
    pass
print("bounded")
"""

    assert run_limited(imports, code, str(path), cpu_seconds=5) == "bounded"
