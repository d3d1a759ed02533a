import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import a_lenient_spec
from cilium_hybrid.rules.chart_keys import MAX_WARNINGS, Key, keys_are_known, known_keys, load_keys
from cilium_hybrid.rules.supported_minors import known_minors, read_minor_files

UNKNOWN = "unknown key in the Cilium 1.18 chart; it has no effect"


def warned(values: dict[str, Any], version: str = "1.18.8-1") -> list[tuple[str, str, str]]:
    warnings = keys_are_known(a_lenient_spec(values=values, version=version))
    return [(warning.path.removeprefix("spec.values."), warning.message, warning.fix) for warning in warnings]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"hubble": {"relay": {"enabled": True}}}, [], id="a known key"),
        pytest.param({"global": {"x": 1}}, [], id="Helm's global"),
        pytest.param(
            {"hubble": {"relay": {"global": 1}}},
            [("hubble.relay.global", UNKNOWN, "remove it")],
            id="global below another key",
        ),
        pytest.param({"podAnnotations": {"example.com/x": {"y": 1}}}, [], id="below a key without known keys"),
        pytest.param({"hubble": None, "ipam": "x"}, [], id="not a map where one could be"),
        pytest.param(
            {"hubble": {"relay": {"enabeld": True}}},
            [("hubble.relay.enabeld", UNKNOWN, "did you mean hubble.relay.enabled?")],
            id="a typo",
        ),
        pytest.param(
            {"ipam.mode": "x"},
            [("ipam.mode", UNKNOWN, "the dot is part of its name; nest the keys as ipam: {mode: …}")],
            id="a path as helm --set takes it",
        ),
        pytest.param({"zzzzzz": 1}, [("zzzzzz", UNKNOWN, "remove it")], id="similar to no key"),
        pytest.param({"nodePort": {"range": "x"}}, [], id="a key that only a template reads"),
        pytest.param(
            {"hostPort": {"enabled": True}},
            [("hostPort", UNKNOWN.replace(";", " (removed in 1.18);"), "remove it")],
            id="a removed key",
        ),
        pytest.param(
            {"hubble": {"hostUsers": True}},
            [("hubble.hostUsers", UNKNOWN.replace(";", " (added in 1.20);"), "remove it")],
            id="a key that a later minor adds",
        ),
    ],
)
def test_unknown_keys_are_warned_about(values: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert warned(values) == expected


@pytest.mark.parametrize("version", ["1.16.19", "2.18.0", "nonsense"])
def test_a_minor_before_the_known_ones_and_another_major_are_not_compared(version: str) -> None:
    assert warned({"zzzzzz": 1}, version) == []


def test_a_later_minor_is_compared_with_the_newest_known() -> None:
    newest = known_minors()[-1]
    message = f"unknown key in the Cilium {newest} chart, the newest known; it may have no effect in 1.99"

    assert warned({"debgu": 1, "debug": {}}, "1.99.0") == [("debgu", message, "did you mean debug?")]


def test_many_unknown_keys_are_counted_and_few_are_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[str] = []
    original = difflib.get_close_matches

    def counting(word: str, *rest: Any) -> list[str]:
        searches.append(word)
        return original(word, *rest)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    warnings = warned({f"k{number}": {} for number in range(5000)})

    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1] == ("spec.values", "4980 more unknown keys in the Cilium 1.18 chart", "remove them")
    assert len(searches) == MAX_WARNINGS


def all_keys(known: Mapping[str, Key]) -> Iterator[Key]:
    for key in known.values():
        yield key
        yield from all_keys(key.below)


def test_the_files_hold_the_keys_of_every_known_minor() -> None:
    keys = [*all_keys(known_keys())]

    assert len(keys) > 1000
    assert {series for key in keys for series in key.changes} == {minor.series for minor in known_minors()}
    for minor in known_minors():
        for key in keys:
            assert key.is_known(minor.series) or not any(below.is_known(minor.series) for below in key.below.values())


def test_the_oldest_file_removes_nothing_and_every_list_is_sorted() -> None:
    changes = [file.keys for file in read_minor_files().values()]

    assert changes[0].removed == ""
    for lines in (text.splitlines() for change in changes for text in (change.added, change.removed)):
        assert lines == sorted(set(lines))


def write(folder: Path, series: str, **keys: list[str]) -> None:
    changes = {name: "\n".join(paths) for name, paths in keys.items()}
    (folder / f"{series}.yaml").write_text(yaml.safe_dump({"supported": True, "keys": changes}))


def test_a_key_comes_goes_and_comes_back(tmp_path: Path) -> None:
    write(tmp_path, "1.1", added=["a", "a.b", "a.c"])
    write(tmp_path, "1.2", removed=["a.b"])
    write(tmp_path, "1.3", added=["a.b", "d"])

    keys = load_keys(tmp_path)
    below = keys["a"].below

    assert [below["b"].is_known((1, minor)) for minor in range(5)] == [False, True, False, True, True]
    assert [keys["d"].is_known((1, minor)) for minor in range(5)] == [False, False, False, True, True]
    assert below["b"].change_around((1, 0)) == "added in 1.1"
    assert below["b"].change_around((1, 2)) == "removed in 1.2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"added": ["a"]}, "1.2.yaml: keys: a is added twice", id="added twice"),
        pytest.param({"removed": ["b"]}, "1.2.yaml: keys.removed: b was never added", id="removed without being added"),
        pytest.param({"removed": ["c"]}, "1.2.yaml: keys: c is removed twice", id="removed twice"),
        pytest.param({"added": ["x.y"]}, "1.2.yaml: keys: x is missing above y", id="without the key above it"),
    ],
)
def test_a_file_that_does_not_fit_those_before_it_is_rejected(
    tmp_path: Path, changes: dict[str, list[str]], message: str
) -> None:
    write(tmp_path, "1.0", added=["a", "c"])
    write(tmp_path, "1.1", removed=["c"])
    write(tmp_path, "1.2", **changes)

    with pytest.raises(ValueError, match=f"^{message}$"):
        load_keys(tmp_path)
