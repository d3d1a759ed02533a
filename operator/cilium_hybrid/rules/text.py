"""How several names or sentences are joined in one line of a message."""

from collections.abc import Sequence


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
