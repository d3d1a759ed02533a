"""How several things are told in one line."""

from collections.abc import Sequence
from typing import Final

_ALL_NAMED: Final = 3


def first(sentences: Sequence[str]) -> str:
    """The first of them, and how many others: each is long enough for a line of its own."""
    more = len(sentences) - 1
    return sentences[0] + (f" and {more} more" if more else "")


def some(names: Sequence[str]) -> str:
    """Up to three names; of more the first two, and how many others."""
    if len(names) <= _ALL_NAMED:
        return ", ".join(names)
    first = names[: _ALL_NAMED - 1]
    return f"{', '.join(first)} and {len(names) - len(first)} more"
