import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from builders import a_raw_spec
from cilium_hybrid.commands import app
from manifests.expected import ACCEPTED, LARGE, REFUSED, SAMPLES, expected_of

NOT_PRIVATE = (
    'Invalid value: "8.8.0.0/16": is not a private network; '
    "use a CIDR inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
)
HEAD = "apiVersion: ciliumhybrid.io/v1alpha1\nkind: CiliumHybrid\nmetadata: {name: default}\n"
GOOD = HEAD + yaml.safe_dump({"spec": a_raw_spec()})
BAD = HEAD + yaml.safe_dump({"spec": a_raw_spec(mask_size=30, pod_cidrs=["8.8.0.0/16"])})
WARNED = HEAD + yaml.safe_dump({"spec": a_raw_spec(values={"debgu": {"enabled": True}})})
OTHER = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"


def validate(*arguments: Any, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, arguments)], input=stdin)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"good": GOOD, "bad": BAD, "warned": WARNED, "other": OTHER}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "notes.txt").write_text("kind: CiliumHybrid\n")
    return tmp_path


def test_a_valid_manifest_prints_nothing_to_stdout(folder: Path) -> None:
    result = validate(folder / "good.yaml")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "1 manifest validated: 0 refused, 0 warnings\n"


def test_each_violation_is_one_line_with_file_line_path_reason_message_and_fix(folder: Path) -> None:
    result = validate(folder / "bad.yaml")
    file = folder / "bad.yaml"

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{file}:8: spec.ipam.maskSize: InvalidSpec: Invalid value: 30: must be at most 29",
        f"{file}:10: spec.ipam.podCIDRs[0]: InvalidSpec: {NOT_PRIVATE}",
    ]


def test_a_warning_refuses_a_manifest_only_with_strict(folder: Path) -> None:
    result, strict = validate(folder / "warned.yaml"), validate("--strict", folder / "warned.yaml")

    assert (result.exit_code, strict.exit_code) == (0, 1)
    assert ": warning: spec.values.debgu: InvalidValues: " in result.stdout
    assert "did you mean debug?" in result.stdout
    assert result.stdout == strict.stdout
    assert result.stderr == "1 manifest validated: 0 refused, 1 warning\n"
    assert strict.stderr == "1 manifest validated: 1 refused, 1 warning\n"


def test_other_kinds_are_ignored(folder: Path) -> None:
    result = validate(folder / "other.yaml")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 manifests validated: 0 refused, 0 warnings\n")


def test_a_folder_is_read_recursively(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "one.json").write_text(json.dumps(yaml.safe_load(BAD)))
    result = validate(folder)

    assert result.exit_code == 1
    assert result.stderr == "4 manifests validated: 2 refused, 1 warning\n"


def test_standard_input_can_be_mixed_with_files(folder: Path) -> None:
    result = validate(folder / "good.yaml", "-", stdin=f"{OTHER}---\n{BAD}")

    assert result.exit_code == 1
    assert result.stdout.startswith("-:12: spec.ipam.maskSize: ")


def test_json_and_yaml_have_the_same_findings(folder: Path) -> None:
    result = validate("--output", "json", folder / "bad.yaml", folder / "warned.yaml")
    in_yaml = validate("--output", "yaml", folder / "bad.yaml", folder / "warned.yaml")
    document = json.loads(result.stdout)

    assert (result.exit_code, in_yaml.exit_code) == (1, 1)
    assert yaml.safe_load(in_yaml.stdout) == document
    assert document["manifests"] == 2
    assert [finding["severity"] for finding in document["findings"]] == ["refused", "refused", "warning"]
    assert document["findings"][0] == {
        "file": str(folder / "bad.yaml"),
        "line": 8,
        "severity": "refused",
        "path": "spec.ipam.maskSize",
        "reason": "InvalidSpec",
        "message": "Invalid value: 30: must be at most 29",
        "fix": "",
    }


def test_the_items_of_a_list_are_validated_with_their_own_paths() -> None:
    items = [yaml.safe_load(OTHER), yaml.safe_load(BAD)]
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}, sort_keys=False)
    result = validate("-", stdin=text)

    assert result.exit_code == 1
    assert "-:16: items[1].spec.ipam.maskSize: InvalidSpec: " in result.stdout


def test_an_unreadable_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(f"{HEAD}spec: [1\n")
    (tmp_path / "latin.yaml").write_bytes(b"# a\n# caf\xe9 CiliumHybrid\n")
    result = validate(tmp_path)
    invalid = "invalid YAML: did not find expected ',' or ']' on line 5; fix the syntax"

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{tmp_path}/broken.yaml:1: InvalidSpec: {invalid}",
        f"{tmp_path}/latin.yaml:2: InvalidSpec: not UTF-8; save the file as UTF-8",
    ]


@pytest.mark.parametrize("arguments", [[], ["--no-such-option", "-"], ["no-such-file.yaml"], ["-o", "xml", "-"]])
def test_a_usage_error_has_exit_code_2(arguments: list[str]) -> None:
    assert validate(*arguments, stdin=GOOD).exit_code == 2


def outcome(text: str) -> tuple[int, list[tuple[str, str]], list[tuple[str, str]]]:
    result = validate("-o", "json", "-", stdin=text)
    findings = json.loads(result.stdout)["findings"]
    by_severity = {
        severity: [(finding["reason"], finding["path"]) for finding in findings if finding["severity"] == severity]
        for severity in ("refused", "warning")
    }
    return result.exit_code, by_severity["refused"], by_severity["warning"]


@pytest.mark.parametrize(
    "text", [*map(Path.read_text, REFUSED), LARGE["too-large"]], ids=[*(f.stem for f in REFUSED), "too-large"]
)
def test_every_mistake_is_refused_with_its_reason(text: str) -> None:
    expected = expected_of(text)

    assert expected.refused
    assert outcome(text) == (1, expected.refused, expected.warned)


@pytest.mark.parametrize("name", [name for name in LARGE if name.startswith("deeper")])
def test_a_manifest_that_is_nested_too_deeply_is_refused(name: str) -> None:
    assert outcome(LARGE[name]) == (1, [("InvalidSpec", "-")], [])


@pytest.mark.parametrize("file", [*ACCEPTED, *SAMPLES], ids=lambda file: file.stem)
def test_a_valid_but_unusual_manifest_is_accepted(file: Path) -> None:
    expected = expected_of(file.read_text())

    assert expected.refused == []
    assert outcome(file.read_text()) == (0, [], expected.warned)


HOSTILE = "\x1b[2J\u202e\u2028\x00"


def test_a_manifest_cannot_control_the_terminal(tmp_path: Path) -> None:
    spec = a_raw_spec(pod_cidrs=[HOSTILE], values={HOSTILE: 1, "extraConfig": {f"ipam{HOSTILE}": 1}}, version=HOSTILE)
    manifest = {
        "apiVersion": "ciliumhybrid.io/v1",
        "kind": HOSTILE,
        "metadata": {"name": HOSTILE},
        HOSTILE: 1,
        "spec": spec,
    }
    (tmp_path / "x.json").write_text(json.dumps(manifest | {"apiVersion": "ciliumhybrid.io/v1"}))
    result = validate(tmp_path / "x.json")

    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) >= 6
    assert not [character for character in result.stdout if character != "\n" and not character.isprintable()]
    assert max(map(len, result.stdout.splitlines())) < 2000
