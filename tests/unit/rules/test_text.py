import pytest

from cilium_hybrid.rules.text import MAX_VALUE_LENGTH, count_of, first_and_count, format_value, list_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [("", ""), ("a", "a"), ("abc", "a, b, c"), ("abcd", "a, b and 2 more")],
    ids=["none", "one", "three are all named", "two of four are named"],
)
def test_list_names(names: str, expected: str) -> None:
    assert list_names(tuple(names)) == expected


def test_first_and_count() -> None:
    assert first_and_count(["a fails"]) == "a fails"
    assert first_and_count(["a fails", "b fails", "c fails"]) == "a fails and 2 more"


def test_count_of() -> None:
    assert [count_of(number, "node has", "nodes have") for number in (0, 1, 2)] == [
        "0 nodes have",
        "1 node has",
        "2 nodes have",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (1.17, "1.17"),
        ("a\n", '"a\\n"'),
        ({"a": 1}, "a map"),
        ([1], "a list"),
        ("x" * (MAX_VALUE_LENGTH - 2), f'"{"x" * (MAX_VALUE_LENGTH - 2)}"'),
        ("x" * 100, f'"{"x" * (MAX_VALUE_LENGTH - 3)}…"'),
    ],
    ids=["null", "a boolean", "a number", "a string", "a map", "a list", "of the maximum length", "cut"],
)
def test_format_value(value: object, expected: str) -> None:
    assert format_value(value) == expected
