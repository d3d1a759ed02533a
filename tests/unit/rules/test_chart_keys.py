import difflib
from typing import Any

import pytest

from builders import a_lenient_spec
from cilium_hybrid.rules.chart_keys import FIRST, LAST, NAMED, Key, keys_are_known, known_keys


def warned(values: dict[str, Any], version: str = "1.18.8-1") -> list[str]:
    return [str(w).removeprefix("spec.values.") for w in keys_are_known(a_lenient_spec(values=values, version=version))]


IGNORED = "is no key of the chart of Cilium 1.18, which ignores it"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"hubble": {"relay": {"enabled": True}}}, [], id="a key that is known"),
        pytest.param({"global": {"x": 1}}, [], id="what every chart takes"),
        pytest.param(
            {"hubble": {"relay": {"global": 1}}}, [f"hubble.relay.global: {IGNORED}: take it out"], id="not there"
        ),
        pytest.param({"podAnnotations": {"example.com/x": {"y": 1}}}, [], id="below a key without keys"),
        pytest.param({"hubble": None, "ipam": "x"}, [], id="no map where one could be"),
        pytest.param(
            {"hubble": {"relay": {"enabeld": True}}},
            [f"hubble.relay.enabeld: {IGNORED}: did you mean hubble.relay.enabled?"],
            id="a typing mistake",
        ),
        pytest.param(
            {"ipam.mode": "x"},
            [f"ipam.mode: {IGNORED}: a dot is part of a name: nest it as ipam: {{mode: …}}"],
            id="a path for a name, as helm --set takes it",
        ),
        pytest.param({"zzzzzz": 1}, [f"zzzzzz: {IGNORED}: take it out"], id="like nothing there is"),
        pytest.param({"nodePort": {"range": "x"}}, [], id="a key that is still known"),
        pytest.param(
            {"hostPort": {"enabled": True}},
            [f"hostPort: {IGNORED} (it went with 1.18): take it out"],
            id="a key that went",
        ),
    ],
)
def test_keys(values: dict[str, Any], expected: list[str]) -> None:
    assert warned(values) == expected


def test_a_key_of_a_later_minor_says_so() -> None:
    later = next(name for name, key in known_keys().items() if key.first == 20)

    assert warned({later: 1}) == [f"{later}: {IGNORED} (it came with 1.20): take it out"]


@pytest.mark.parametrize("version", ["1.16.19", "1.99.0", "2.18.0", "nonsense"])
def test_a_minor_whose_keys_are_not_known_has_none_to_compare_with(version: str) -> None:
    assert warned({"zzzzzz": 1}, version) == []


def test_many_unknown_keys_are_counted_and_few_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[str] = []
    original = difflib.get_close_matches

    def counting(word: str, *rest: Any) -> list[str]:
        searches.append(word)
        return original(word, *rest)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    said = warned({f"k{number}": {} for number in range(5000)})

    assert len(said) == NAMED + 1
    assert "has 4980 more keys" in said[-1]
    assert len(searches) == NAMED


def all_keys(known: Any) -> list[Key]:
    return [key for one in known.values() for key in (one, *all_keys(one.below))]


def test_the_data_is_whole() -> None:
    keys = all_keys(known_keys())

    assert len(keys) > 1000
    assert {minor for key in keys for minor in (key.first, key.last)} == set(range(FIRST, LAST + 1))
    for key in keys:
        assert FIRST <= key.first <= key.last <= LAST
        assert all(key.first <= child.first and child.last <= key.last for child in key.below.values())
