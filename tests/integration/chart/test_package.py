"""The content of the archives of the test chart, and that they are reproducible."""

import tarfile
from pathlib import Path

import pytest

from chart.package import package, package_all, versions
from chart.rendering import read


def test_the_versions_of_the_test_chart(tmp_path: Path) -> None:
    assert versions() == [
        "1.17.13-1",
        "1.17.15-1",
        "1.18.3-0",
        "1.18.8-1",
        "1.18.9-1",
        "1.18.10-1",
        "1.19.4-1",
        "1.20.0-0",
    ]
    assert [archive.name for archive in package_all(tmp_path)] == [f"cilium-{version}.tgz" for version in versions()]


@pytest.mark.parametrize("version", versions())
def test_an_archive_is_reproducible(tmp_path: Path, version: str) -> None:
    (tmp_path / "again").mkdir()

    first, again = package(version, tmp_path), package(version, tmp_path / "again")

    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("version", versions())
def test_chart_and_app_version_match_the_archive(charts: dict[str, Path], version: str) -> None:
    chart = read(charts[version], "Chart.yaml")

    assert (chart["name"], chart["version"], chart["appVersion"]) == ("cilium", version, version)
    assert chart["kubeVersion"] == ">= 1.21.0-0"


def test_an_archive_has_no_metadata_of_the_build_machine(charts: dict[str, Path]) -> None:
    with tarfile.open(charts["1.18.8-1"]) as tar:
        entries = tar.getmembers()

    assert {(entry.mtime, entry.uid, entry.uname, entry.mode) for entry in entries} == {(0, 0, "", 0o644)}
    assert all(entry.name.startswith("cilium/") for entry in entries)


def test_an_unknown_version_is_not_packaged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1\.21\.0-0"):
        package("1.21.0-0", tmp_path)

    assert not list(tmp_path.iterdir())
