import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import DIGEST, REF, VERSION
from cilium_hybrid.adapters.helm.chart_cache import ChartCache
from cilium_hybrid.ports import FetchedChart
from limited import run_limited

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def cache(tmp_path: Path) -> ChartCache:
    return ChartCache(tmp_path / "cache")


def store(cache: ChartCache, content: bytes = CONTENT, ref: str = REF) -> Path:
    """Store a chart and return the path of its archive."""
    with cache.staging(ref) as directory:
        (directory / "cilium.tgz").write_bytes(content)
        cache.store(ref, VERSION, directory / "cilium.tgz", DIGEST)
    found = cache.find(ref, VERSION)
    assert found is not None
    return found.path


def test_a_stored_chart_is_found_with_the_digest_of_the_registry(cache: ChartCache) -> None:
    path = store(cache)

    assert cache.find(REF, VERSION) == FetchedChart(path, VERSION, DIGEST)
    assert path.read_bytes() == CONTENT
    assert cache.find(REF, "9.9.9") is None
    assert cache.find(f"{REF}-mirror", VERSION) is None


def test_a_stored_chart_replaces_the_one_before_and_leaves_nothing_else(cache: ChartCache) -> None:
    store(cache)
    path = store(cache, b"newer")

    assert path.read_bytes() == b"newer"
    assert [found.name for found in path.parent.parent.iterdir()] == [VERSION]


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def deleted(path: Path) -> None:
    path.unlink()


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link(path: Path) -> None:
    """Whoever can write to the cache must not make the operator read what only the operator can."""
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [truncated, one_bit, empty, deleted, a_fifo, a_link, a_directory])
@pytest.mark.parametrize("name", ["chart.tgz", "digest"])
def test_a_damaged_chart_is_not_found_and_can_be_stored_again(
    cache: ChartCache, damage: Callable[[Path], None], name: str
) -> None:
    path = store(cache)
    damage(path.parent / name)

    assert cache.find(REF, VERSION) is None
    assert store(cache).read_bytes() == CONTENT


def test_a_chart_of_an_earlier_format_is_not_found(cache: ChartCache) -> None:
    path = store(cache)
    (path.parent / "digest").write_text(DIGEST)

    assert cache.find(REF, VERSION) is None


def test_a_staging_directory_is_removed_whatever_happens(cache: ChartCache) -> None:
    staging = cache.staging(REF)
    directory = staging.__enter__()
    (directory / "half").write_bytes(b"x")
    error = RuntimeError()

    assert not staging.__exit__(RuntimeError, error, None)
    assert not directory.exists()


def test_what_a_killed_process_left_is_removed(cache: ChartCache) -> None:
    with cache.staging(REF) as directory:
        old, young = directory.parent / ".pull-old", directory.parent / ".pull-young"
    for left in (old, young):
        left.mkdir()
        (left / "half.tgz").write_bytes(b"x")
    os.utime(old, (0, 0))
    store(cache)

    assert not old.exists()
    assert young.exists()


def test_content_is_on_the_disk_before_it_gets_its_name(cache: ChartCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that loses power keeps what was synced; a rename may be kept without the content."""
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def record_fsync(descriptor: int) -> None:
        calls.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name[:6]}")
        fsync(descriptor)

    def record_rename(path: Path, target: Path) -> Path:
        calls.append(f"rename {path.name[:6]}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", record_rename)
    parent = store(cache).parent.parent.name[:6]

    assert calls == ["fsync chart.", "fsync digest", "fsync .pull-", "rename .pull-", f"fsync {parent}"]


@pytest.mark.parametrize(
    ("content", "limit"),
    [
        pytest.param(CONTENT, 0, id="archive"),
        pytest.param(CONTENT, len(CONTENT) - 1, id="last byte of the archive"),
        pytest.param(b"x", 100, id="digest"),
    ],
)
def test_a_full_disk_is_an_error_and_leaves_nothing(
    cache: ChartCache, tmp_path: Path, content: bytes, limit: int
) -> None:
    """A limit on the size of files acts like a full disk, at any byte."""
    (tmp_path / "cilium.tgz").write_bytes(content)
    imports = "import errno\nfrom pathlib import Path\nfrom cilium_hybrid.adapters.helm.chart_cache import ChartCache"
    code = f"""
cache = ChartCache(Path({str(cache.directory)!r}))
with cache.staging({REF!r}):
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    try:
        cache.store({REF!r}, {VERSION!r}, Path({str(tmp_path / "cilium.tgz")!r}), {DIGEST!r})
    except OSError as error:
        print(errno.errorcode[error.errno])
"""

    assert run_limited(imports, code) == "EFBIG"
    assert cache.find(REF, VERSION) is None
    assert [found.name for found in cache.directory.rglob(".*")] == []
    assert store(cache).read_bytes() == CONTENT
