import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from builders import a_raw_spec
from cilium_hybrid.commands import app
from manifests.expected import ACCEPTED, LARGE, REFUSED, SAMPLES, expected_of

PRIVATE_NETWORKS = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10"
HEAD = "apiVersion: ciliumhybrid.io/v1alpha1\nkind: CiliumHybrid\nmetadata: {name: default}\n"
GOOD = HEAD + yaml.safe_dump({"spec": a_raw_spec()})
BAD = HEAD + yaml.safe_dump({"spec": a_raw_spec(mask_size=30, pod_cidrs=["8.8.0.0/16"])})
WARNED = HEAD + yaml.safe_dump({"spec": a_raw_spec(values={"debgu": {"enabled": True}})})
OTHER = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"


def call(*arguments: Any, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, arguments)], input=stdin)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"verified": GOOD, "bad": BAD, "warned": WARNED, "other": OTHER}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "notes.txt").write_text("kind: CiliumHybrid\n")
    return tmp_path


def test_a_good_manifest_passes_in_silence(folder: Path) -> None:
    said = call(folder / "good.yaml")

    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr == "1 CiliumHybrid judged: 0 refusals, 0 warnings\n"


def test_each_violation_is_one_line_with_file_line_path_reason_message_and_way_out(folder: Path) -> None:
    said = call(folder / "bad.yaml")
    file = folder / "bad.yaml"

    assert said.exit_code == 1
    assert said.stdout.splitlines() == [
        f"{file}:8: spec.ipam.maskSize: InvalidSpec: is 30: write at most 29",
        f"{file}:10: spec.ipam.podCIDRs[0]: InvalidSpec: 8.8.0.0/16 is not private: take one inside {PRIVATE_NETWORKS}",
    ]


def test_a_warning_refuses_nothing_unless_it_is_asked_to(folder: Path) -> None:
    said, strict = call(folder / "warned.yaml"), call("--strict", folder / "warned.yaml")

    assert (said.exit_code, strict.exit_code) == (0, 1)
    assert ": warning: spec.values.debgu: InvalidValues: " in said.stdout
    assert "did you mean debug?" in said.stdout
    assert said.stdout == strict.stdout


def test_files_of_others_are_passed_over(folder: Path) -> None:
    said = call(folder / "other.yaml")

    assert (said.exit_code, said.stdout, said.stderr) == (0, "", "0 CiliumHybrid judged: 0 refusals, 0 warnings\n")


def test_a_folder_is_each_manifest_in_it_and_below(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "one.json").write_text(json.dumps(yaml.safe_load(BAD)))
    said = call(folder)

    assert said.exit_code == 1
    assert said.stderr == "4 CiliumHybrid judged: 4 refusals, 1 warning\n"


def test_standard_input_may_be_judged_among_files(folder: Path) -> None:
    said = call(folder / "good.yaml", "-", stdin=f"{OTHER}---\n{BAD}")

    assert said.exit_code == 1
    assert said.stdout.startswith("-:12: spec.ipam.maskSize: ")


def test_json_holds_the_same(folder: Path) -> None:
    said = call("--output", "json", folder / "bad.yaml", folder / "warned.yaml")
    told = json.loads(said.stdout)

    assert said.exit_code == 1
    assert told["manifests"] == 2
    assert [finding["severity"] for finding in told["findings"]] == ["refused", "refused", "warning"]
    assert told["findings"][0] == {
        "file": str(folder / "bad.yaml"),
        "line": 8,
        "severity": "refused",
        "path": "spec.ipam.maskSize",
        "reason": "InvalidSpec",
        "message": "is 30",
        "fix": "write at most 29",
    }


def test_the_items_of_a_list_are_judged_where_they_stand() -> None:
    items = [yaml.safe_load(OTHER), yaml.safe_load(BAD)]
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}, sort_keys=False)
    said = call("-", stdin=text)

    assert said.exit_code == 1
    assert "-:16: items[1].spec.ipam.maskSize: InvalidSpec: " in said.stdout


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(f"{HEAD}spec: [1\n")
    (tmp_path / "latin.yaml").write_bytes(b"# a\n# caf\xe9 CiliumHybrid\n")
    said = call(tmp_path)

    assert said.exit_code == 1
    assert said.stdout.splitlines() == [
        f"{tmp_path}/broken.yaml:1: InvalidSpec: is no YAML: did not find expected ',' or ']' on line 5: correct it",
        f"{tmp_path}/latin.yaml:2: InvalidSpec: is no UTF-8 text: save it as UTF-8",
    ]


@pytest.mark.parametrize("arguments", [[], ["--no-such-option", "-"], ["no-such-file.yaml"], ["-o", "xml", "-"]])
def test_a_call_that_cannot_be_used_is_no_verdict(arguments: list[str]) -> None:
    assert call(*arguments, stdin=GOOD).exit_code == 2


def verdict(text: str) -> tuple[int, list[tuple[str, str]], list[tuple[str, str]]]:
    said = call("-o", "json", "-", stdin=text)
    told = [(one["severity"], (one["reason"], one["path"])) for one in json.loads(said.stdout)["findings"]]
    refused = [finding for severity, finding in told if severity == "refused"]
    return said.exit_code, refused, [finding for severity, finding in told if severity == "warning"]


@pytest.mark.parametrize(
    "text", [*map(Path.read_text, REFUSED), LARGE["too-large"]], ids=[*(f.stem for f in REFUSED), "too-large"]
)
def test_every_mistake_is_refused_with_its_reason(text: str) -> None:
    mistake = expected_of(text)

    assert mistake.refused
    assert verdict(text) == (1, mistake.refused, mistake.warned)


@pytest.mark.parametrize("name", [name for name in LARGE if name.startswith("deeper")])
def test_what_is_too_deep_to_be_read_is_no_manifest(name: str) -> None:
    assert verdict(LARGE[name]) == (1, [("InvalidSpec", "-")], [])


@pytest.mark.parametrize("file", [*ACCEPTED, *SAMPLES], ids=lambda file: file.stem)
def test_what_only_looks_wrong_is_taken(file: Path) -> None:
    fine = expected_of(file.read_text())

    assert fine.refused == []
    assert verdict(file.read_text()) == (0, [], fine.warned)


HOSTILE = "\x1b[2J\u202e\u2028\x00"


def test_no_manifest_speaks_to_the_terminal(tmp_path: Path) -> None:
    spec = a_raw_spec(pod_cidrs=[HOSTILE], values={HOSTILE: 1, "extraConfig": {f"ipam{HOSTILE}": 1}}, version=HOSTILE)
    manifest = {
        "apiVersion": "ciliumhybrid.io/v1",
        "kind": HOSTILE,
        "metadata": {"name": HOSTILE},
        HOSTILE: 1,
        "spec": spec,
    }
    (tmp_path / "x.json").write_text(json.dumps(manifest | {"apiVersion": "ciliumhybrid.io/v1"}))
    said = call(tmp_path / "x.json")

    assert said.exit_code == 1
    assert len(said.stdout.splitlines()) >= 6
    assert not [character for character in said.stdout if character != "\n" and not character.isprintable()]
    assert max(map(len, said.stdout.splitlines())) < 2000
