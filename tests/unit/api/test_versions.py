import re

import pytest
from hypothesis import given

from cilium_hybrid.api.versions import VERSION_PATTERN, CiliumVersion
from strategies import versions


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("1.17.9", (1, 17, 9, None), id="without a build"),
        pytest.param("1.17.9-0", (1, 17, 9, 0), id="the first build"),
        pytest.param("1.17.9-10", (1, 17, 9, 10), id="the tenth build"),
        pytest.param("9999.0.9999-9999", (9999, 0, 9999, 9999), id="the largest numbers"),
    ],
)
def test_a_version_is_parsed(text: str, parts: tuple[int, int, int, int | None]) -> None:
    assert CiliumVersion.parse(text) == CiliumVersion(*parts)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("1.17", id="only a minor release"),
        pytest.param("v1.17.9", id="with a v"),
        pytest.param("1.17.9-rc.1", id="a release candidate"),
        pytest.param("1.17.9-", id="a build without a number"),
        pytest.param("1.17.9+1", id="build metadata"),
        pytest.param("01.17.9", id="a leading zero"),
        pytest.param("1.17.9-01", id="a leading zero in the build"),
        pytest.param("1.17.10000", id="a number of five digits"),
        pytest.param("1.17.9\n", id="a line break after it"),
        pytest.param(" 1.17.9", id="a space before it"),
        pytest.param("1.1\N{ARABIC-INDIC DIGIT SEVEN}.9", id="a digit that is not ASCII"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        CiliumVersion.parse(text)


def test_builds_are_compared_as_numbers_and_are_newer_than_the_plain_version() -> None:
    written = ["1.17.9", "1.17.9-0", "1.17.9-9", "1.17.9-10", "1.17.10", "1.18.0", "2.0.0"]

    assert [str(version) for version in sorted(map(CiliumVersion.parse, reversed(written)))] == written


def test_the_series_is_the_minor_release() -> None:
    assert CiliumVersion.parse("1.17.9-4").series == "1.17"


@given(versions())
def test_a_formatted_version_parses_to_the_same_version(version: CiliumVersion) -> None:
    assert CiliumVersion.parse(str(version)) == version


@given(versions(), versions(), versions())
def test_the_order_is_total(one: CiliumVersion, two: CiliumVersion, three: CiliumVersion) -> None:
    first, second, third = sorted([one, two, three])

    assert not second < first
    assert not third < second
    assert not third < first
    assert (one < two) + (one == two) + (one > two) == 1
    assert (one == two) == (hash(one) == hash(two) and str(one) == str(two))


def numbers(version: CiliumVersion) -> list[int]:
    """Return the numbers in the text; of two lists with the same beginning, the shorter one is less."""
    return [int(number) for number in re.split("[.-]", str(version))]


@given(versions(), versions())
def test_the_order_is_that_of_the_numbers_in_the_text(one: CiliumVersion, two: CiliumVersion) -> None:
    assert (one < two) == (numbers(one) < numbers(two))
    assert (one > two) == (numbers(one) > numbers(two))


@pytest.mark.parametrize("digit", ["\N{ARABIC-INDIC DIGIT SEVEN}", "\N{FULLWIDTH DIGIT SEVEN}"])
def test_the_pattern_matches_ascii_digits_only(digit: str) -> None:
    """The pattern is in the CRD as well, where no flag restricts it."""
    assert re.fullmatch(VERSION_PATTERN, "1.17.9-7")
    assert not re.fullmatch(VERSION_PATTERN, f"1.1{digit}.9")
    assert not re.fullmatch(VERSION_PATTERN, f"1.17.9-{digit}")
