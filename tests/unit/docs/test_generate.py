"""The generated files are up to date, and every default and example in the reference is true."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.crd import crd_yaml
from cilium_hybrid.api.schema import resolved
from cilium_hybrid.api.v1alpha1 import Spec, parse_spec
from testbed.operator import ROOT

SCRIPT = ROOT / "docs" / "generate.py"
SPEC = resolved(Spec.model_json_schema(by_alias=True))
GENERATED = {
    "crds/ciliumhybrids.ciliumhybrid.io.yaml",
    "deploy/definition/ciliumhybrids.ciliumhybrid.io.yaml",
    "docs/api.md",
    "docs/cilium-versions.md",
    "docs/conditions.md",
}


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


def test_the_generated_files_are_up_to_date() -> None:
    assert GENERATOR.files().keys() == GENERATED
    assert GENERATOR.stale_files(ROOT) == []


def test_the_check_passes_if_no_file_is_stale() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_or_edited_file_is_stale(tmp_path: Path) -> None:
    for name, content in GENERATOR.files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "docs" / "api.md").write_text("edited")
    (tmp_path / "docs" / "conditions.md").unlink()

    assert GENERATOR.stale_files(tmp_path) == ["docs/api.md", "docs/conditions.md"]


def test_the_crd_file_is_the_output_of_the_crd_command() -> None:
    assert (ROOT / "crds" / "ciliumhybrids.ciliumhybrid.io.yaml").read_text() == crd_yaml()


def test_crds_contains_nothing_but_the_crd() -> None:
    """`kubectl apply -f crds/` applies every manifest in the directory."""
    documents = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").iterdir()]

    assert [document["kind"] for document in documents] == ["CustomResourceDefinition"]


def _fields(node: Mapping[str, Any] = SPEC, path: str = "spec") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from _fields(child, f"{path}.{name}")
        yield from _fields(child.get("items", {}), f"{path}.{name}[]")


FIELDS = [pytest.param(path, node, id=path) for path, node in _fields()]
LEAVES = [pytest.param(path, node, id=path) for path, node in _fields() if "properties" not in node]
EXAMPLES = [
    pytest.param(path, example, id=f"{path} {example}")
    for path, node in _fields()
    for example in node.get("examples", ())
]


@pytest.mark.parametrize(("path", "node"), FIELDS)
def test_a_description_states_the_default_of_the_model(path: str, node: Mapping[str, Any]) -> None:
    default, description = node.get("default"), node["description"]
    if default is None or isinstance(default, list | dict):
        assert "efault" not in description, path
    else:
        text = str(default).lower() if isinstance(default, bool) else default
        assert description.endswith(f" Defaults to {text}."), path


@pytest.mark.parametrize(("path", "node"), LEAVES)
def test_a_field_without_a_closed_list_of_values_has_an_example(path: str, node: Mapping[str, Any]) -> None:
    closed = node.get("type") == "boolean" or "enum" in node

    assert closed == ("examples" not in node), path


@pytest.mark.parametrize(("path", "example"), EXAMPLES)
def test_an_example_is_valid(path: str, example: Any) -> None:
    spec: dict[str, Any] = {
        "version": "1.19.2-1",
        "apiServer": {"host": "api.internal"},
        "ipam": {"podCIDRs": ["10.85.0.0/16"], "maskSize": 25},
        "imagePullSecrets": [{"name": "registry-credentials"}],
        "upgrade": {"via": [{"version": "1.18.8-1"}]},
    }
    *parents, name = path.removeprefix("spec.").split(".")
    place: Any = spec
    for parent in parents:
        place = place[parent.removesuffix("[]")][0] if parent.endswith("[]") else place.setdefault(parent, {})
    place[name] = example

    parse_spec(spec)


@pytest.mark.parametrize(("path", "node"), FIELDS)
def test_the_reference_has_a_section_for_every_field_of_the_spec(path: str, node: Mapping[str, Any]) -> None:
    section = re.search(rf"^### `{re.escape(path)}`\n(.*?)(?=^##)", GENERATOR.api(), re.MULTILINE | re.DOTALL)

    assert section is not None
    assert "- Type: " in section[1]
    if "default" in node and "properties" not in node:
        assert "- Default: " in section[1]
    if "examples" in node:
        assert "- Example: " in section[1]
