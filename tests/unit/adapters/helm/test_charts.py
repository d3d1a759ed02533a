import asyncio
import io
import os
import random
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import DIGEST, REF, VERSION
from cilium_hybrid.adapters.helm import chart_cache, chart_files, command, process
from cilium_hybrid.adapters.helm.charts import HelmCharts
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.plan.upgrade.preflight import PREFLIGHT
from cilium_hybrid.ports import (
    ApplyFailedError,
    ChartRefusedError,
    ChartUnavailableError,
    ClusterUnavailableError,
    FetchedChart,
    HelmInterruptedError,
    ValuesRefusedError,
)

METADATA = f"name: cilium\nversion: {VERSION}\n"
MakeCharts = Callable[..., HelmCharts]


@pytest.fixture
def charts(tmp_path: Path) -> MakeCharts:
    """Return a factory of charts whose helm binary is a shell script."""

    def make(script: str = "exit 9") -> HelmCharts:
        path = tmp_path / "helm"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return HelmCharts(HelmCommand(path, tmp_path / "home", lambda *_: None), tmp_path / "cache")

    return make


def an_archive(path: Path, metadata: str = METADATA, member: str = "cilium/Chart.yaml") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(metadata)
        archive.addfile(info, io.BytesIO(metadata.encode()))
    return path


def a_directory(path: Path, metadata: str = METADATA) -> Path:
    path.mkdir()
    (path / "Chart.yaml").write_text(metadata)
    return path


def serving(archive: Path, digest: str = DIGEST) -> str:
    """A Helm that pulls this archive into the directory that is its last argument."""
    return f'for last; do :; done; cp {archive} "$last/cilium.tgz"; echo "Pulled: x"; echo "Digest: {digest}" >&2'


def fetch(charts: HelmCharts, ref: str | Path = REF, pinned: str | None = None) -> FetchedChart:
    return asyncio.run(charts.fetch(str(ref), VERSION, pinned))


@pytest.mark.parametrize("make", [an_archive, a_directory], ids=["archive", "directory"])
def test_the_digest_of_a_chart_on_disk_depends_on_its_content(
    charts: MakeCharts, tmp_path: Path, make: Callable[..., Path]
) -> None:
    one = fetch(charts(""), make(tmp_path / "one"))
    other = fetch(charts(""), make(tmp_path / "other", METADATA + "description: another\n"))

    assert (one.path, one.version) == (tmp_path / "one", VERSION)
    assert one.digest != other.digest
    assert fetch(charts(""), tmp_path / "one") == one


def test_the_digest_of_a_directory_depends_on_file_names_but_not_on_its_own_path(
    charts: MakeCharts, tmp_path: Path
) -> None:
    one, same, moved = (a_directory(tmp_path / name) for name in ("one", "same", "moved"))
    for directory, name in ((one, "a"), (same, "a"), (moved, "b")):
        (directory / "templates").mkdir()
        (directory / "templates" / name).write_text("kind: ConfigMap\n")
    digests = [fetch(charts(""), directory).digest for directory in (one, same, moved)]

    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def missing(path: Path) -> Path:
    return path


def an_empty_directory(path: Path) -> Path:
    path.mkdir()
    return path


def a_text_file(path: Path) -> Path:
    path.write_text("not an archive")
    return path


def an_archive_with_a_directory_as_metadata(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("cilium/Chart.yaml")
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    return path


def a_truncated_archive(path: Path) -> Path:
    whole = an_archive(path, METADATA + "description: " + random.Random(0).randbytes(2000).hex()).read_bytes()  # noqa: S311 # no secret
    path.write_bytes(whole[: len(whole) // 2])
    return path


def a_corrupt_archive(path: Path) -> Path:
    whole = an_archive(path).read_bytes()
    path.write_bytes(whole[:20] + b"\xff" * 20 + whole[40:])
    return path


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        pytest.param(
            a_truncated_archive,
            ChartRefusedError,
            "is not a Helm chart of Cilium: it is not a gzip",
            id="truncated archive",
        ),
        pytest.param(
            a_corrupt_archive,
            ChartRefusedError,
            "is not a Helm chart of Cilium: it is not a gzip",
            id="corrupt archive",
        ),
        pytest.param(missing, ChartUnavailableError, "No such file", id="missing file"),
        pytest.param(an_empty_directory, ChartUnavailableError, "No such file", id="directory without Chart.yaml"),
        pytest.param(a_text_file, ChartRefusedError, "is not a Helm chart of Cilium: it is not a gzip", id="text file"),
        pytest.param(
            lambda path: an_archive(path, member="other/Chart.yaml"),
            ChartRefusedError,
            "not a Helm chart of Cilium: it contains",
            id="another chart name in the archive",
        ),
        pytest.param(
            an_archive_with_a_directory_as_metadata,
            ChartRefusedError,
            "not a Helm chart of Cilium: it contains",
            id="directory named Chart.yaml",
        ),
        pytest.param(
            lambda path: a_directory(path, "{["),
            ChartRefusedError,
            "not a Helm chart of Cilium: it contains",
            id="not YAML",
        ),
        pytest.param(
            lambda path: a_directory(path, "text"),
            ChartRefusedError,
            "not a Helm chart of Cilium: it contains",
            id="not a map",
        ),
        pytest.param(
            lambda path: a_directory(path, f"name: calico\nversion: {VERSION}"),
            ChartRefusedError,
            f"is chart calico {VERSION}, but spec.version requires cilium {VERSION}",
            id="another chart",
        ),
        pytest.param(
            lambda path: a_directory(path, "name: cilium\nversion: 1.0.0"),
            ChartRefusedError,
            "is chart cilium 1.0.0",
            id="another version",
        ),
    ],
)
def test_an_invalid_chart_is_rejected(
    charts: MakeCharts, tmp_path: Path, make: Callable[[Path], Path], error: type[Exception], message: str
) -> None:
    path = make(tmp_path / "chart")

    with pytest.raises(error, match=message):
        fetch(charts(""), path)


def test_a_chart_is_pulled_once_and_cached_across_restarts(charts: MakeCharts, tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "served.tgz")
    pulled = fetch(charts(serving(archive)))
    kept = fetch(charts("exit 9"))

    assert pulled == kept
    assert kept.digest == DIGEST
    assert kept.path.read_bytes() == archive.read_bytes()


def test_a_chart_is_pulled_again_if_the_cached_digest_is_not_the_pinned_one(charts: MakeCharts, tmp_path: Path) -> None:
    archive, newer = an_archive(tmp_path / "served.tgz"), f"sha256:{'12' * 32}"
    fetch(charts(serving(archive)))
    found = fetch(charts(serving(archive, newer)), pinned=newer)

    assert found.digest == newer


def test_a_chart_with_another_digest_is_refused_and_both_digests_are_named(charts: MakeCharts, tmp_path: Path) -> None:
    pinned = f"sha256:{'12' * 32}"

    with pytest.raises(ChartRefusedError, match=f"has digest {DIGEST}, but spec.chart.digest is {pinned}"):
        fetch(charts(serving(an_archive(tmp_path / "served.tgz"))), pinned=pinned)


def test_a_failed_pull_leaves_nothing_in_the_cache(charts: MakeCharts, tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "served.tgz", "name: calico\nversion: 1.0.0")
    with pytest.raises(ChartRefusedError):
        fetch(charts(serving(archive)))
    verified = fetch(charts(serving(an_archive(archive))))

    assert verified.digest == DIGEST
    assert [path.name for path in verified.path.parent.parent.iterdir()] == [VERSION]


@pytest.mark.parametrize("lost", ["chart.tgz", "digest"])
def test_an_incomplete_cache_entry_is_pulled_again(charts: MakeCharts, tmp_path: Path, lost: str) -> None:
    archive = an_archive(tmp_path / "served.tgz")
    before = fetch(charts(serving(archive)))
    (before.path.parent / lost).unlink()
    again = fetch(charts(serving(archive)))

    assert again == before
    assert again.path.is_file()


def test_charts_of_two_references_are_cached_separately(charts: MakeCharts, tmp_path: Path) -> None:
    one = fetch(charts(serving(an_archive(tmp_path / "one.tgz"))))
    other = fetch(charts(serving(an_archive(tmp_path / "other.tgz"), f"sha256:{'12' * 32}")), REF + "-mirror")

    assert one.path != other.path
    assert fetch(charts("exit 9")) == one


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        pytest.param("manifest unknown", "correct spec.version or spec.chart.ref", id="not found"),
        pytest.param("response status code 403: denied", "allows anonymous pulls", id="forbidden"),
        pytest.param("429 Too Many Requests: toomanyrequests", "limits requests", id="rate limit"),
        pytest.param(
            "dial tcp: connection refused", "check that the operator can reach the registry", id="unreachable"
        ),
    ],
)
def test_the_error_of_a_failed_pull_says_what_to_do(charts: MakeCharts, error: str, fix: str) -> None:
    with pytest.raises(ChartUnavailableError, match=f"{error}; .*{fix}"):
        fetch(charts(f"echo 'Error: {error}' >&2; exit 1"))


def test_the_error_for_another_chart_is_short(charts: MakeCharts, tmp_path: Path) -> None:
    path = a_directory(tmp_path / "chart", f"name: {'x' * 10_000}\nversion: [2001-01-01, {'y' * 10_000}]\n")
    with pytest.raises(ChartRefusedError) as error:
        fetch(charts(), path)

    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("damage", "pulled"),
    [
        pytest.param(lambda content: content[: len(content) // 2], True, id="truncated"),
        pytest.param(lambda content: content[:-1] + b"\xff", True, id="damaged"),
        pytest.param(lambda content: content, False, id="whole"),
    ],
)
def test_20_a_damaged_chart_in_the_cache_is_pulled_again(
    charts: MakeCharts, tmp_path: Path, damage: Callable[[bytes], bytes], pulled: bool
) -> None:
    archive = an_archive(tmp_path / "served.tgz")
    chart = fetch(charts(serving(archive)))
    chart.path.write_bytes(damage(chart.path.read_bytes()))
    again = fetch(charts(f"touch {tmp_path}/pulled; {serving(archive)}"))

    assert again == chart
    assert again.path.read_bytes() == archive.read_bytes()
    assert (tmp_path / "pulled").exists() == pulled


def test_20_a_chart_that_is_damaged_after_it_was_fetched_is_unavailable(charts: MakeCharts, tmp_path: Path) -> None:
    chart = fetch(charts(serving(an_archive(tmp_path / "served.tgz"))))
    chart.path.write_bytes(b"")

    with pytest.raises(ChartUnavailableError, match="was damaged"):
        asyncio.run(charts().defaults(chart))


def test_20_a_registry_that_stays_silent_is_named_and_helm_is_ended(
    charts: MakeCharts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "READ_SECONDS", 1.0)
    with pytest.raises(
        ChartUnavailableError,
        match=rf"^cannot fetch chart {VERSION} from {REF}: no complete answer within 1 s; "
        "check that the operator can reach the registry",
    ):
        fetch(charts(f"echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"))

    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_pull_that_was_killed_makes_the_chart_unavailable(charts: MakeCharts) -> None:
    with pytest.raises(ChartUnavailableError, match=rf"cannot fetch chart {VERSION} .* killed by signal 9"):
        fetch(charts("kill -9 $$"))


def test_20_a_cache_that_cannot_be_written_makes_the_chart_unavailable(charts: MakeCharts, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")

    with pytest.raises(
        ChartUnavailableError, match=f"^cannot use chart cache {tmp_path}/cache: Not a directory; check the volume$"
    ):
        fetch(charts(serving(an_archive(tmp_path / "served.tgz"))))


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        pytest.param("write /cache/x: no space left on device", "check the volume", id="full disk"),
        pytest.param("open /cache/x: permission denied", "check the volume", id="permissions"),
        pytest.param("open /cache/x: read-only file system", "check the volume", id="read-only disk"),
    ],
)
def test_20_a_disk_that_helm_cannot_write_is_not_an_error_of_the_registry(
    charts: MakeCharts, error: str, fix: str
) -> None:
    with pytest.raises(ChartUnavailableError, match=f"{error}; {fix} of the chart cache"):
        fetch(charts(f"echo 'Error: {error}' >&2; exit 1"))


def test_the_error_of_a_failed_pull_is_the_same_each_time(charts: MakeCharts) -> None:
    script = 'for last; do :; done; echo "Error: open $last/a: no space left on device" >&2; exit 1'
    for _ in range(2):
        with pytest.raises(ChartUnavailableError, match="open the chart cache/a: no space left on device"):
            fetch(charts(script))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param("echo Pulled", "reported no digest", id="no digest"),
        pytest.param(f"echo 'Digest: {DIGEST}'", "reported no digest", id="no archive"),
    ],
)
def test_a_pull_without_a_result_makes_the_chart_unavailable(charts: MakeCharts, script: str, message: str) -> None:
    with pytest.raises(ChartUnavailableError, match=message):
        fetch(charts(script))


def test_a_pulled_archive_that_is_no_chart_is_refused_and_not_kept(charts: MakeCharts, tmp_path: Path) -> None:
    served = tmp_path / "served.tgz"
    served.write_text("text")
    with pytest.raises(ChartRefusedError, match=f"^chart {VERSION} of {REF} is not a Helm chart of Cilium: it is not"):
        fetch(charts(serving(served)))

    assert list((tmp_path / "cache").rglob("*.tgz")) == []


def test_special_files_are_refused(charts: MakeCharts, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "chart")

    with pytest.raises(ChartRefusedError, match=f"^{tmp_path}/chart is not a Helm chart of Cilium: it is a FIFO"):
        fetch(charts(), tmp_path / "chart")
    with pytest.raises(ChartRefusedError, match="it is a character device"):
        fetch(charts(), "/dev/zero")


def test_a_path_that_cannot_be_is_unavailable(charts: MakeCharts) -> None:
    for path in ("/nowhere\0", f"/{'x' * 300}"):
        with pytest.raises(ChartUnavailableError, match=r"^cannot read chart /"):
            fetch(charts(), path)


def test_charts_are_read_beside_the_event_loop(
    charts: MakeCharts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Lease is renewed meanwhile."""
    main, threads = threading.get_ident(), set()
    read = chart_files.read_file

    def record(*arguments: Any, **options: Any) -> bytes:
        threads.add(threading.get_ident())
        return read(*arguments, **options)

    for module in (chart_files, chart_cache):
        monkeypatch.setattr(module, "read_file", record)
    archive = an_archive(tmp_path / "served.tgz")
    fetch(charts(serving(archive)))
    chart = fetch(charts(), archive)
    with pytest.raises(ChartRefusedError):
        asyncio.run(charts().defaults(chart))

    assert threads
    assert main not in threads


CHART = FetchedChart(Path("/charts/cilium.tgz"), VERSION, DIGEST)


def rendering(script: str) -> str:
    """A Helm whose post-renderer gets what the script prints."""
    return f"""
if [ "$1" = show ]; then exit 0; fi
for argument; do case "$argument" in --post-renderer-args=/*) file="${{argument#*=}}"; esac; done
({script}) > "$file"
"""


def failing(script: str) -> str:
    """A Helm that fails to render."""
    return f'if [ "$1" = show ]; then exit 0; fi\n{script}'


def render(charts: HelmCharts, values: dict[str, Any], *release: str) -> Any:
    return asyncio.run(charts.render(CHART, values, *release)).manifests


FORBIDDEN = 'could not get information about the resource ServiceAccount "mine": serviceaccounts "mine" is forbidden'
"""Helm reads each object that it would apply. The operator has permissions for objects that the rules allow only."""


def test_what_helm_rendered_can_be_judged_even_if_it_may_not_read_the_objects(charts: MakeCharts) -> None:
    script = rendering("echo 'kind: ServiceAccount'") + f"echo 'Error: UPGRADE FAILED: {FORBIDDEN}' >&2; exit 1"
    rendered = asyncio.run(charts(script).render(CHART, {}))

    assert [found["kind"] for found in rendered.manifests] == ["ServiceAccount"]
    assert isinstance(rendered.problem, ApplyFailedError)
    assert str(rendered.problem) == f"Helm could not render chart {VERSION}: {FORBIDDEN}"


def test_values_are_passed_to_helm_as_yaml(charts: MakeCharts) -> None:
    values = {"a": {"b": [1, "1", None, True, "true", "\U0001f600"]}}

    assert render(charts(rendering("cat")), values) == [{**values, "metadata": {}}]


def test_empty_documents_are_skipped(charts: MakeCharts) -> None:
    printed = "printf -- '---\\n# only words\\n---\\nkind: A\\n---\\nkind: B\\n'"

    assert [found["kind"] for found in render(charts(rendering(printed)), {})] == ["A", "B"]


def test_charts_are_rendered_for_the_requested_release(charts: MakeCharts) -> None:
    for release in ("cilium", PREFLIGHT):
        ((command, _),) = [list(found.values()) for found in render(charts(rendering("echo \"a: '$*'\"")), {}, release)]
        assert f" {release} {CHART.path} --namespace kube-system" in command


@pytest.mark.parametrize(
    ("release", "values_of"),
    [
        pytest.param((), "the values", id="cilium"),
        pytest.param((PREFLIGHT,), f"the values of release {PREFLIGHT}", id="preflight"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        "values don't meet the specifications of the schema(s): cilium: at '/debug': got string, want object",
        "execution error at (cilium/templates/validate.yaml:140:7): SPIRE requires authentication",
    ],
    ids=["schema", "fail"],
)
def test_what_the_chart_says_about_values_is_final(
    charts: MakeCharts, release: tuple[str, ...], values_of: str, error: str
) -> None:
    script = failing(f'echo "Error: {error}" >&2; exit 1')
    with pytest.raises(ValuesRefusedError) as refused:
        render(charts(script), {}, *release)

    assert str(refused.value) == f"chart {VERSION} rejects {values_of}: {error}; correct spec.values"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param("kill -9 $$", HelmInterruptedError, id="killed"),
        pytest.param("exec sleep 300", ApplyFailedError, id="no end"),
        pytest.param("echo 'Error: fork/exec: cannot allocate memory' >&2; exit 1", ApplyFailedError, id="memory"),
        pytest.param("echo 'fatal error: runtime: out of memory' >&2; exit 2", ApplyFailedError, id="Go's memory"),
        pytest.param("echo 'Error: unable to load chart archive' >&2; exit 1", ApplyFailedError, id="damaged chart"),
        pytest.param("exit 1", ApplyFailedError, id="no message"),
        pytest.param("exec cat /dev/zero", ApplyFailedError, id="endless output"),
        pytest.param(
            "echo 'Error: Kubernetes cluster unreachable: Get x: EOF' >&2; exit 1", ClusterUnavailableError, id="API"
        ),
        pytest.param(
            f"echo 'Error: template: {'error calling include: ' * 50} error calling lookup: {'x ' * 500}' >&2; exit 1",
            ApplyFailedError,
            id="lookup within templates",
        ),
        pytest.param(
            "echo 'Error: template: cilium/x: error calling lookup: i/o timeout' >&2; exit 1",
            ClusterUnavailableError,
            id="lookup",
        ),
    ],
)
def test_20_any_other_failure_to_render_is_retried(
    charts: MakeCharts, monkeypatch: pytest.MonkeyPatch, script: str, error: type[Exception]
) -> None:
    monkeypatch.setattr(command, "READ_SECONDS", 1.0)
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)

    with pytest.raises(error):
        render(charts(failing(script)), {})


def test_a_chart_that_renders_nothing_is_refused(charts: MakeCharts) -> None:
    """Helm says so of the post-renderer, of which users know nothing."""
    error = 'error while running post render on files: post-renderer \\"judged\\" produced empty output'
    with pytest.raises(ChartRefusedError, match=rf"^chart {VERSION} renders no objects; correct spec.chart.ref$"):
        render(charts(failing(f'echo "Error: {error}" >&2; exit 1')), {})


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        pytest.param("echo 'a: [hunter2'", "is not valid YAML in line", id="not YAML"),
        pytest.param("echo '[hunter2]'", "contains something that is not an object", id="list"),
        pytest.param("echo 'a: &a [*a]'", "has an alias without an anchor", id="object that contains itself"),
    ],
)
def test_manifests_that_cannot_be_read_are_refused(charts: MakeCharts, printed: str, message: str) -> None:
    with pytest.raises(ChartRefusedError, match=f"^what chart {VERSION} renders {message}") as error:
        render(charts(rendering(printed)), {})

    assert "hunter2" not in str(error.value)
