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
    """Make charts over a Helm that is a shell script."""

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


def a_folder(path: Path, metadata: str = METADATA) -> Path:
    path.mkdir()
    (path / "Chart.yaml").write_text(metadata)
    return path


def serving(archive: Path, digest: str = DIGEST) -> str:
    """A Helm that pulls this archive: its last argument is the folder to put it into."""
    return f'for last; do :; done; cp {archive} "$last/cilium.tgz"; echo "Pulled: x"; echo "Digest: {digest}" >&2'


def fetch(charts: HelmCharts, ref: str | Path = REF, pinned: str | None = None) -> FetchedChart:
    return asyncio.run(charts.fetch(str(ref), VERSION, pinned))


@pytest.mark.parametrize("make", [an_archive, a_folder], ids=["an archive", "a folder"])
def test_a_chart_on_disk_is_told_apart_by_its_bytes(
    charts: MakeCharts, tmp_path: Path, make: Callable[..., Path]
) -> None:
    one = fetch(charts(""), make(tmp_path / "one"))
    other = fetch(charts(""), make(tmp_path / "other", METADATA + "description: another\n"))

    assert (one.path, one.version) == (tmp_path / "one", VERSION)
    assert one.digest != other.digest
    assert fetch(charts(""), tmp_path / "one") == one


def test_a_folder_is_the_same_wherever_it_lies_and_another_when_a_file_moves(
    charts: MakeCharts, tmp_path: Path
) -> None:
    one, same, moved = (a_folder(tmp_path / name) for name in ("one", "same", "moved"))
    for folder, name in ((one, "a"), (same, "a"), (moved, "b")):
        (folder / "templates").mkdir()
        (folder / "templates" / name).write_text("kind: ConfigMap\n")
    digests = [fetch(charts(""), folder).digest for folder in (one, same, moved)]

    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def nothing(path: Path) -> Path:
    return path


def an_empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def a_text(path: Path) -> Path:
    path.write_text("not an archive")
    return path


def a_folder_in_its_place(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("cilium/Chart.yaml")
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    return path


def an_archive_cut_short(path: Path) -> Path:
    whole = an_archive(path, METADATA + "description: " + random.Random(0).randbytes(2000).hex()).read_bytes()  # noqa: S311 # no secret
    path.write_bytes(whole[: len(whole) // 2])
    return path


def an_archive_with_a_broken_middle(path: Path) -> Path:
    whole = an_archive(path).read_bytes()
    path.write_bytes(whole[:20] + b"\xff" * 20 + whole[40:])
    return path


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        pytest.param(an_archive_cut_short, ChartRefusedError, "is no Helm chart", id="an archive cut short"),
        pytest.param(an_archive_with_a_broken_middle, ChartRefusedError, "is no Helm chart", id="a broken archive"),
        pytest.param(nothing, ChartUnavailableError, "No such file", id="no file"),
        pytest.param(an_empty_folder, ChartUnavailableError, "No such file", id="a folder without Chart.yaml"),
        pytest.param(a_text, ChartRefusedError, "is no Helm chart", id="no archive"),
        pytest.param(
            lambda path: an_archive(path, member="other/Chart.yaml"), ChartRefusedError, "no Helm chart", id="no cilium"
        ),
        pytest.param(a_folder_in_its_place, ChartRefusedError, "no Helm chart", id="a folder named Chart.yaml"),
        pytest.param(lambda path: a_folder(path, "{["), ChartRefusedError, "no Helm chart", id="no YAML"),
        pytest.param(lambda path: a_folder(path, "text"), ChartRefusedError, "no Helm chart", id="no map"),
        pytest.param(
            lambda path: a_folder(path, f"name: calico\nversion: {VERSION}"),
            ChartRefusedError,
            f"is chart calico {VERSION}, and spec.version says cilium {VERSION}",
            id="another chart",
        ),
        pytest.param(
            lambda path: a_folder(path, "name: cilium\nversion: 1.0.0"),
            ChartRefusedError,
            "is chart cilium 1.0.0",
            id="another version",
        ),
    ],
)
def test_what_is_not_the_chart_is_told(
    charts: MakeCharts, tmp_path: Path, make: Callable[[Path], Path], error: type[Exception], words: str
) -> None:
    path = make(tmp_path / "chart")

    with pytest.raises(error, match=words):
        fetch(charts(""), path)


def test_a_chart_is_pulled_once_and_kept_over_a_restart(charts: MakeCharts, tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "served.tgz")
    pulled = fetch(charts(serving(archive)))
    kept = fetch(charts("exit 9"))

    assert pulled == kept
    assert kept.digest == DIGEST
    assert kept.path.read_bytes() == archive.read_bytes()


def test_a_pinned_digest_that_is_not_kept_is_looked_for_in_the_registry(charts: MakeCharts, tmp_path: Path) -> None:
    archive, newer = an_archive(tmp_path / "served.tgz"), f"sha256:{'12' * 32}"
    fetch(charts(serving(archive)))
    found = fetch(charts(serving(archive, newer)), pinned=newer)

    assert found.digest == newer


def test_a_chart_of_another_digest_is_refused_with_both(charts: MakeCharts, tmp_path: Path) -> None:
    pinned = f"sha256:{'12' * 32}"

    with pytest.raises(ChartRefusedError, match=f"has digest {DIGEST}, and spec.chart.digest says {pinned}"):
        fetch(charts(serving(an_archive(tmp_path / "served.tgz"))), pinned=pinned)


def test_a_pull_that_ended_half_way_leaves_nothing_behind(charts: MakeCharts, tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "served.tgz", "name: calico\nversion: 1.0.0")
    with pytest.raises(ChartRefusedError):
        fetch(charts(serving(archive)))
    verified = fetch(charts(serving(an_archive(archive))))

    assert verified.digest == DIGEST
    assert [path.name for path in verified.path.parent.parent.iterdir()] == [VERSION]


@pytest.mark.parametrize("lost", ["chart.tgz", "digest"])
def test_half_a_chart_is_pulled_again(charts: MakeCharts, tmp_path: Path, lost: str) -> None:
    archive = an_archive(tmp_path / "served.tgz")
    before = fetch(charts(serving(archive)))
    (before.path.parent / lost).unlink()
    again = fetch(charts(serving(archive)))

    assert again == before
    assert again.path.is_file()


def test_charts_of_two_places_are_kept_apart(charts: MakeCharts, tmp_path: Path) -> None:
    one = fetch(charts(serving(an_archive(tmp_path / "one.tgz"))))
    other = fetch(charts(serving(an_archive(tmp_path / "other.tgz"), f"sha256:{'12' * 32}")), REF + "-mirror")

    assert one.path != other.path
    assert fetch(charts("exit 9")) == one


@pytest.mark.parametrize(
    ("said", "step"),
    [
        pytest.param("manifest unknown", "correct spec.version or spec.chart.ref", id="not there"),
        pytest.param("response status code 403: denied", "wants a login", id="forbidden"),
        pytest.param("429 Too Many Requests: toomanyrequests", "limit is reached", id="too often"),
        pytest.param("dial tcp: connection refused", "check that the operator reaches the registry", id="away"),
    ],
)
def test_a_pull_that_fails_says_the_next_step(charts: MakeCharts, said: str, step: str) -> None:
    with pytest.raises(ChartUnavailableError, match=step) as refused:
        fetch(charts(f"echo 'Error: {said}' >&2; exit 1"))
    assert str(refused.value).endswith(f"({said})")


def test_a_helm_that_names_no_digest_is_not_believed(charts: MakeCharts) -> None:
    with pytest.raises(ChartUnavailableError, match="named no digest"):
        fetch(charts("echo Pulled"))


CHART = FetchedChart(Path("/charts/cilium.tgz"), VERSION, DIGEST)


def render(charts: HelmCharts, values: dict[str, Any], *release: str) -> Any:
    return asyncio.run(charts.render(CHART, values, *release))


def test_values_are_given_to_helm_as_yaml(charts: MakeCharts) -> None:
    values = {"a": {"b": [1, "1", None, True, "true"]}}

    assert render(charts("cat"), values) == [values]


def test_empty_documents_are_left_out(charts: MakeCharts) -> None:
    assert render(charts("printf -- '---\\n# only words\\n---\\nkind: A\\n---\\nkind: B\\n'"), {}) == [
        {"kind": "A"},
        {"kind": "B"},
    ]


def test_helm_renders_for_the_version_of_the_cluster(charts: MakeCharts) -> None:
    ((said,),) = [list(made.values()) for made in render(charts("echo \"said: '$*'\""), {})]

    assert said.startswith(f"template cilium {CHART.path} --namespace kube-system")
    assert "--kube-version v1.35.4" in said


def test_helm_renders_for_the_release_that_is_named(charts: MakeCharts) -> None:
    ((said,),) = [list(made.values()) for made in render(charts("echo \"said: '$*'\""), {}, PREFLIGHT)]

    assert said.startswith(f"template cilium-preflight {CHART.path} --namespace kube-system")


@pytest.mark.parametrize(
    ("release", "whose"),
    [
        pytest.param((), "the values", id="cilium"),
        pytest.param((PREFLIGHT,), f"the values of release {PREFLIGHT}", id="preflight"),
    ],
)
def test_values_that_the_chart_refuses(charts: MakeCharts, release: tuple[str, ...], whose: str) -> None:
    with pytest.raises(ValuesRefusedError, match=rf"refuses {whose}, correct spec.values: debug: want a map"):
        render(charts("echo 'Error: debug: want a map' >&2; exit 1"), {}, *release)
