import asyncio
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import DIGEST, REF, VERSION
from cilium_hybrid.adapters.helm.charts import HelmCharts
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.plan.upgrade.preflight import PREFLIGHT
from cilium_hybrid.ports import ChartRefusedError, ChartUnavailableError, FetchedChart, ValuesRefusedError

METADATA = f"name: cilium\nversion: {VERSION}\n"
MakeCharts = Callable[[str], HelmCharts]


@pytest.fixture
def charts(tmp_path: Path) -> MakeCharts:
    """Return a factory of charts whose helm binary is a shell script."""

    def make(script: str = "exit 9") -> HelmCharts:
        path = tmp_path / "helm"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return HelmCharts(HelmCommand(path, tmp_path / "home", lambda *_: None), tmp_path / "cache", "v1.35.4")

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
        pytest.param(a_truncated_archive, ChartRefusedError, "is not a Helm chart", id="truncated archive"),
        pytest.param(a_corrupt_archive, ChartRefusedError, "is not a Helm chart", id="corrupt archive"),
        pytest.param(missing, ChartUnavailableError, "No such file", id="missing file"),
        pytest.param(an_empty_directory, ChartUnavailableError, "No such file", id="directory without Chart.yaml"),
        pytest.param(a_text_file, ChartRefusedError, "is not a Helm chart", id="text file"),
        pytest.param(
            lambda path: an_archive(path, member="other/Chart.yaml"),
            ChartRefusedError,
            "not a Helm chart",
            id="another chart name in the archive",
        ),
        pytest.param(
            an_archive_with_a_directory_as_metadata,
            ChartRefusedError,
            "not a Helm chart",
            id="directory named Chart.yaml",
        ),
        pytest.param(lambda path: a_directory(path, "{["), ChartRefusedError, "not a Helm chart", id="not YAML"),
        pytest.param(lambda path: a_directory(path, "text"), ChartRefusedError, "not a Helm chart", id="not a map"),
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


def test_a_pull_without_a_digest_fails(charts: MakeCharts) -> None:
    with pytest.raises(ChartUnavailableError, match="reported no digest"):
        fetch(charts("echo Pulled"))


CHART = FetchedChart(Path("/charts/cilium.tgz"), VERSION, DIGEST)


def render(charts: HelmCharts, values: dict[str, Any], *release: str) -> Any:
    return asyncio.run(charts.render(CHART, values, *release))


def test_values_are_passed_to_helm_as_yaml(charts: MakeCharts) -> None:
    values = {"a": {"b": [1, "1", None, True, "true"]}}

    assert render(charts("cat"), values) == [values]


def test_empty_documents_are_skipped(charts: MakeCharts) -> None:
    assert render(charts("printf -- '---\\n# only words\\n---\\nkind: A\\n---\\nkind: B\\n'"), {}) == [
        {"kind": "A"},
        {"kind": "B"},
    ]


def test_charts_are_rendered_for_the_version_of_the_cluster(charts: MakeCharts) -> None:
    ((command,),) = [list(found.values()) for found in render(charts("echo \"command: '$*'\""), {})]

    assert command.startswith(f"template cilium {CHART.path} --namespace kube-system")
    assert "--kube-version v1.35.4" in command


def test_charts_are_rendered_for_the_requested_release(charts: MakeCharts) -> None:
    ((command,),) = [list(found.values()) for found in render(charts("echo \"command: '$*'\""), {}, PREFLIGHT)]

    assert command.startswith(f"template cilium-preflight {CHART.path} --namespace kube-system")


@pytest.mark.parametrize(
    ("release", "values_of"),
    [
        pytest.param((), "the values", id="cilium"),
        pytest.param((PREFLIGHT,), f"the values of release {PREFLIGHT}", id="preflight"),
    ],
)
def test_the_error_for_rejected_values(charts: MakeCharts, release: tuple[str, ...], values_of: str) -> None:
    with pytest.raises(ValuesRefusedError, match=rf"rejects {values_of}: debug: want a map; correct spec.values"):
        render(charts("echo 'Error: debug: want a map' >&2; exit 1"), {}, *release)
