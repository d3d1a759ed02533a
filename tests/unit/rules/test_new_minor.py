"""The minor after the newest known, made up and added as CONTRIBUTING says: one data file and no code."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

import cilium_hybrid
from builders import a_raw_spec
from cilium_hybrid.api.v1alpha1 import GROUP, KIND, NAME, VERSION
from cilium_hybrid.rules.chart_keys import Key, known_keys
from cilium_hybrid.rules.supported_minors import known_minors, supported_minors

PACKAGE = Path(cilium_hybrid.__file__).parent
TESTS = Path(__file__).parents[2]
MAJOR, NEWEST = known_minors()[-1].series
OLD, NEW, LATER = (f"{MAJOR}.{minor}" for minor in (NEWEST, NEWEST + 1, NEWEST + 2))
FILE = f"rules/minors/{NEW}.yaml"
DATA = f"""\
# Cilium {NEW}.
supported: true
kernel: "9.1"
notes:
  - something is different
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's package with the new minor."""
    folder = tmp_path_factory.mktemp("operator")
    package = shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (package / FILE).write_text(DATA)
    charts = tmp_path_factory.mktemp("charts")
    values = {name: value for name, value in _values(known_keys()).items() if name != "sctp"}
    _package_chart(charts / f"cilium-{NEW}.0.tgz", values | {"brandNew": {"enabled": False}})
    run(package, "-m", "chart.keys", str(charts))
    return package


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{package.parent}:{TESTS}", "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended


def _values(keys: Mapping[str, Key]) -> dict[str, Any]:
    return {name: _values(key.below) for name, key in keys.items() if key.is_known((MAJOR, NEWEST))}


def _package_chart(archive: Path, values: Mapping[str, Any]) -> None:
    content = yaml.safe_dump(values).encode()
    member = tarfile.TarInfo("cilium/values.yaml")
    member.size = len(content)
    with tarfile.open(archive, "w:gz") as chart:
        chart.addfile(member, BytesIO(content))


@pytest.fixture(scope="module")
def said(package: Path) -> dict[str, Any]:
    """What the operator says about the new minor, see new_minor.py."""
    found: dict[str, Any] = json.loads(
        run(package, "-m", "unit.rules.new_minor", f"{OLD}.0-0", f"{OLD}.3-0", f"{NEW}.0-0", f"{LATER}.0").stdout
    )
    assert Path(found["package"]).parent == package
    return found


def test_one_new_file_is_all_that_changes(package: Path) -> None:
    def files(root: Path) -> dict[str, bytes]:
        found = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(root)): path.read_bytes() for path in found}

    new = dict(files(package).items() - files(PACKAGE).items())

    assert [*new] == [FILE]
    assert new[FILE].decode() == (
        f"{DATA}keys:  # `make chart-keys` writes them\n"
        "  added: |\n    brandNew\n    brandNew.enabled\n  removed: |\n    sctp\n    sctp.enabled\n"
    )


def test_the_upgrade_to_the_new_minor_is_planned_with_its_notes(said: dict[str, Any]) -> None:
    assert said["steps"] == [
        ["Preflight", f"{OLD}.3-0", []],
        ["Upgrade", f"{OLD}.3-0", []],
        ["Preflight", f"{NEW}.0-0", []],
        ["Upgrade", f"{NEW}.0-0", ["something is different"]],
    ]
    assert said["end"] == "InSync"


def test_the_new_minor_is_among_the_supported_ones(said: dict[str, Any]) -> None:
    (refusal,) = said["refusals"]

    assert ", ".join([*map(str, supported_minors()), NEW]) in refusal


def test_the_kernel_of_the_new_minor_is_checked(said: dict[str, Any]) -> None:
    (refusal,) = said["kernel"]

    assert f"{NEW}.0-0 needs Linux 9.1" in refusal
    assert refusal.endswith(f"stay below {NEW}")


def test_values_are_compared_with_the_keys_of_the_new_minor(said: dict[str, Any]) -> None:
    chart = f"unknown key in the Cilium {NEW} chart"

    assert said["warnings"][0] == [
        f"spec.values.debgu: {chart}; it has no effect; did you mean debug?",
        f"spec.values.sctp: {chart} (removed in {NEW}); it has no effect; remove it",
    ]


def test_the_minor_after_it_has_its_facts(said: dict[str, Any]) -> None:
    refusal, *warnings = said["warnings"][1]

    assert LATER in refusal
    assert [warning.partition(":")[0] for warning in warnings] == ["spec.values.debgu", "spec.values.sctp"]
    assert said["later"] == [9, 1]


def test_the_command_accepts_the_new_minor(package: Path, tmp_path: Path) -> None:
    manifest = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": NAME},
        "spec": a_raw_spec(version=f"{NEW}.0-0"),
    }
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(manifest))

    assert "0 refused" in run(package, "-m", "cilium_hybrid", "validate", str(file)).stderr


VERSIONS = re.compile(r"(?<![\d.])1\.(1[5-9]|[2-9]\d)(?!\d)")
EXAMPLES = {
    "api/upgrade.py": "examples in the descriptions of fields",
    "api/v1alpha1.py": "examples in the descriptions of fields",
    "rules/schema_errors.py": "an example of a version in a message",
}


def _versions_in(source: str) -> Iterator[str]:
    """Return the versions in strings other than docstrings, and those written as 1.17 or (1, 17)."""
    tree = ast.parse(source)
    docstrings = {id(docstring) for parent in ast.walk(tree) for docstring in _docstrings(parent)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings and VERSIONS.search(text):
                yield text
            case ast.Constant(value=float(number)) if VERSIONS.fullmatch(str(number)):
                yield str(number)
            case ast.Tuple(elts=[ast.Constant(value=1), ast.Constant(value=int(minor)), *_]) if minor >= 15:
                yield f"(1, {minor})"


def _docstrings(parent: ast.AST) -> Iterator[ast.AST]:
    """Return the strings that stand alone: docstrings of modules, classes, functions and attributes."""
    if isinstance(parent, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        for statement in parent.body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield statement.value


def test_no_code_names_a_minor() -> None:
    found = {
        str(path.relative_to(PACKAGE)): versions
        for path in PACKAGE.rglob("*.py")
        if (versions := [*_versions_in(path.read_text())])
    }

    assert {path: versions for path, versions in found.items() if path not in EXAMPLES} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('is_at_least(version, "1.19")', ["1.19"]),
        ('f"stay below 1.19.{patch}"', ["stay below 1.19."]),
        ("minor >= (1, 19)", ["(1, 19)"]),
        ("version == 1.19", ["1.19"]),
        ('def f() -> None:\n    """As in 1.19."""', []),
        ('"10.1.19.2", "1.190", "11.19"', []),
    ],
)
def test_a_minor_in_code_is_found(source: str, found: list[str]) -> None:
    assert [*_versions_in(source)] == found
