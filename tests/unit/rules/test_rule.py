from collections.abc import Iterator

import pytest

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rule import MAX_LENGTH, Rule, Violation, all_violations, first_violation_and_count

HIGH = Violation(Reason.INVALID_SPEC, "spec.a", "is too high")
ODD = Violation(Reason.INVALID_VALUES, "spec.b", "is odd")


def is_low(number: int) -> Iterator[Violation]:
    if number > 10:
        yield HIGH


def is_even(number: int) -> Iterator[Violation]:
    if number % 2:
        yield ODD


CHAIN: tuple[Rule[int], ...] = (is_low, is_even)


def test_all_rules_are_evaluated_in_the_order_of_the_chain() -> None:
    assert all_violations(CHAIN, 4) == ()
    assert all_violations(CHAIN, 5) == (ODD,)
    assert all_violations(CHAIN, 11) == (HIGH, ODD)
    assert all_violations(CHAIN[::-1], 11) == (ODD, HIGH)


def test_a_violation_as_text() -> None:
    assert str(HIGH) == "spec.a: is too high"
    assert str(Violation(Reason.INVALID_SPEC, "spec.a", "is too high", "use 10")) == "spec.a: is too high; use 10"


def test_the_first_violation_and_the_number_of_the_others() -> None:
    assert first_violation_and_count([HIGH]) == "spec.a: is too high"
    assert first_violation_and_count([HIGH, ODD, ODD]) == "spec.a: is too high (and 2 more, see condition Valid)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("spec.values.a b.ü.端", "spec.values.a b.ü.端", id="printable text"),
        pytest.param("a\nb\tc\x1b[2J\x7f\x9b", "a\\u000ab\\u0009c\\u001b[2J\\u007f\\u009b", id="control characters"),
        pytest.param("a\u202eb\u200bc\ufeff\u2028", "a\\u202eb\\u200bc\\ufeff\\u2028", id="invisible characters"),
        pytest.param("\ud800", "\\ud800", id="an unpaired surrogate"),
        pytest.param("x" * MAX_LENGTH, "x" * MAX_LENGTH, id="of the maximum length"),
        pytest.param("x" * 10_000, "x" * (MAX_LENGTH - 1) + "…", id="cut to the maximum length"),
    ],
)
def test_each_part_of_a_violation_is_one_printable_line(text: str, expected: str) -> None:
    violation = Violation(Reason.INVALID_SPEC, text, text, text)

    assert (violation.path, violation.message, violation.fix) == (expected, expected, expected)
