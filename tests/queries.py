"""The names that a PromQL expression of ours uses, found without a parser: promtool says whether it is one."""

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
class Used:
    """Metrics, labels they are grouped by, and the values that labels of a metric are compared with."""

    metrics: frozenset[str]
    grouped_by: frozenset[str]
    compared: frozenset[tuple[str, str, str]]


def used(expression: str) -> Used:
    """What an expression names; `compared` holds metric, label and value, each alternative of a pattern apart."""
    compared = {
        (metric, label, value)
        for metric, matchers in _SELECTOR.findall(expression)
        for label, values in _MATCHER.findall(matchers)
        for value in values.split("|")
    }
    groupings = " , ".join(_GROUPING.findall(expression))
    rest = expression
    for pattern, instead in ((_SELECTOR, r" \1 "), (_GROUPING, " "), (_TEXT, " "), (_RANGE, " "), (_FUNCTION, " ")):
        rest = pattern.sub(instead, rest)
    return Used(
        frozenset(_WORD.findall(rest)) - _OPERATORS,
        frozenset(_WORD.findall(groupings)),
        frozenset(compared),
    )
