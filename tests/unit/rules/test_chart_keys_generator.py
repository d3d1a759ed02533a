import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from chart.keys import chart_keys, find_charts, write_keys
from cilium_hybrid.rules.supported_minors import MINORS_FOLDER

VALUES = """
debug: {enabled: false}
maglev: {}
nodeSelector: {kubernetes.io/os: linux}
operator: {affinity: {podAntiAffinity: {}}, replicas: 2}
tolerations: [{operator: Exists}]
"""
LISTED = {
    "debug",
    "debug.enabled",
    "maglev",
    "nodeSelector",
    "operator",
    "operator.affinity",
    "operator.replicas",
    "tolerations",
}
HEADER = "# A comment.\nsupported: true\nnotes:\n  - 'a note: with a colon'\n"
KEYS = "keys:  # `make chart-keys` writes them\n"


def package(folder: Path, version: str, values: str = VALUES, **templates: str) -> Path:
    archive = folder / f"cilium-{version}.tgz"
    files = {"values.yaml": values} | {f"templates/{name}.yaml": text for name, text in templates.items()}
    with tarfile.open(archive, "w:gz") as chart:
        for name, text in files.items():
            member = tarfile.TarInfo(f"cilium/{name}")
            member.size = len(text.encode())
            chart.addfile(member, BytesIO(text.encode()))
    return archive


@pytest.mark.parametrize(
    ("template", "read"),
    [
        pytest.param("no reference", set(), id="only values.yaml"),
        pytest.param("{{ .Values.debug.verbose }}", {"debug.verbose"}, id="a key without a default"),
        pytest.param("{{ $.Values.azure.clientID }}", {"azure", "azure.clientID"}, id="a map without a default"),
        pytest.param('{{ hasKey .Values.debug "level" }}', {"debug.level"}, id="hasKey"),
        pytest.param('{{ get $.Values.debug "level" }}', {"debug.level"}, id="get"),
        pytest.param("{{ .Values.maglev.tableSize }}", set(), id="below an empty map"),
        pytest.param("{{ .Values.operator.affinity.nodeAffinity }}", set(), id="below a part of a Kubernetes object"),
        pytest.param('{{ dig "tunnel" "" .Values.AsMap }}', set(), id="Helm's own method"),
    ],
)
def test_the_keys_of_a_chart_are_those_it_lists_and_those_it_reads(
    tmp_path: Path, template: str, read: set[str]
) -> None:
    assert chart_keys(package(tmp_path, "1.9.0", template=template)) == LISTED | read


def test_the_newest_version_of_each_minor_is_taken(tmp_path: Path) -> None:
    for version in ("1.9.2", "1.9.10", "1.10.0", "1.10.0-1", "1.11.0-pre.0", "latest"):
        package(tmp_path, version)

    found = {series: archive.name for series, archive in find_charts(tmp_path).items()}

    assert found == {(1, 9): "cilium-1.9.10.tgz", (1, 10): "cilium-1.10.0-1.tgz"}


def test_a_file_gets_what_its_chart_adds_and_removes_and_keeps_the_rest(tmp_path: Path) -> None:
    for series in ("1.9", "1.10", "1.11"):
        (tmp_path / f"{series}.yaml").write_text(HEADER)
    package(tmp_path, "1.9.0", "a: {b: 1, c: 1}")
    package(tmp_path, "1.10.0", "a: {b: 1}\nd: 1")
    package(tmp_path, "1.11.0", "a: {b: 1}\nd: 1")

    write_keys(find_charts(tmp_path), tmp_path)

    assert (tmp_path / "1.9.yaml").read_text() == f"{HEADER}{KEYS}  added: |\n    a\n    a.b\n    a.c\n"
    assert (tmp_path / "1.10.yaml").read_text() == f"{HEADER}{KEYS}  added: |\n    d\n  removed: |\n    a.c\n"
    assert (tmp_path / "1.11.yaml").read_text() == HEADER


def test_without_a_chart_a_minor_keeps_its_keys(tmp_path: Path) -> None:
    (tmp_path / "1.9.yaml").write_text(f"{HEADER}{KEYS}  added: |\n    a\n    b\n")
    (tmp_path / "1.10.yaml").write_text(HEADER)
    (tmp_path / "1.11.yaml").write_text(f"{HEADER}{KEYS}  added: |\n    d\n")
    package(tmp_path, "1.10.0", "a: 1\nc: 1")

    write_keys(find_charts(tmp_path), tmp_path)

    assert (tmp_path / "1.9.yaml").read_text() == f"{HEADER}{KEYS}  added: |\n    a\n    b\n"
    assert (tmp_path / "1.10.yaml").read_text() == f"{HEADER}{KEYS}  added: |\n    c\n  removed: |\n    b\n"
    assert (tmp_path / "1.11.yaml").read_text() == f"{HEADER}{KEYS}  added: |\n    b\n    d\n  removed: |\n    c\n"


def test_the_files_of_the_operator_stay_the_same_bytes(tmp_path: Path) -> None:
    committed = {file.name: file.read_bytes() for file in MINORS_FOLDER.iterdir() if file.name.endswith(".yaml")}
    for name, content in committed.items():
        (tmp_path / name).write_bytes(content)

    write_keys({}, tmp_path)

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == committed
