"""Helpers that put values and lists of names into one line of a message."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

MAX_VALUE_LENGTH: Final = 60
"""In characters, of a value from a spec that a message repeats."""


def list_names(names: Sequence[str], limit: int = 3, separator: str = ", ") -> str:
    """Return up to `limit` names; of a longer list the first `limit - 1` and the number of the others."""
    if len(names) <= limit:
        return separator.join(names)
    shown = names[: limit - 1]
    return f"{separator.join(shown)} and {len(names) - len(shown)} more"


def first_and_count(sentences: Sequence[str]) -> str:
    """Return the first sentence and the number of the others, for messages where each is a line long."""
    more = len(sentences) - 1
    return sentences[0] + (f" and {more} more" if more else "")


def count_of(number: int, singular: str, plural: str) -> str:
    """Return a number with its noun and verb, such as "1 node has" or "2 nodes have"."""
    return f"{number} {singular if number == 1 else plural}"


def format_value(value: object) -> str:
    """Return a JSON value as one short line; of a map or a list only its kind, because it may be of any size."""
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    text = json.dumps(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f'{text[: MAX_VALUE_LENGTH - 2]}…"'
