"""Finds the names that a PromQL expression uses, without a parser; promtool checks the syntax."""

import re
from dataclasses import dataclass

_TEXT = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_FUNCTION = re.compile(r"\b[a-z_]+\s*(?=\()")
_WORD = re.compile(r"\b[a-zA-Z_:][\w:]*")
_OPERATORS = frozenset({"and", "or", "unless", "bool", "offset", "group_left", "group_right", *("by", "without", "on")})


@dataclass(frozen=True, slots=True)
class Names:
    """The metrics of an expression, the labels it groups by, and each (metric, label, value) it compares."""

    metrics: frozenset[str]
    grouped_by: frozenset[str]
    compared: frozenset[tuple[str, str, str]]


def names_in(expression: str) -> Names:
    """Return the names in an expression; the alternatives of a regular expression become separate comparisons."""
    compared = {
        (metric, label, value)
        for metric, matchers in _SELECTOR.findall(expression)
        for label, values in _MATCHER.findall(matchers)
        for value in values.split("|")
    }
    groupings = " , ".join(_GROUPING.findall(expression))
    rest = expression
    for pattern, replacement in ((_SELECTOR, r" \1 "), (_GROUPING, " "), (_TEXT, " "), (_RANGE, " "), (_FUNCTION, " ")):
        rest = pattern.sub(replacement, rest)
    return Names(
        frozenset(_WORD.findall(rest)) - _OPERATORS,
        frozenset(_WORD.findall(groupings)),
        frozenset(compared),
    )
