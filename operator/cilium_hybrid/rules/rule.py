"""Rules, the violations that they report, and how chains of rules are evaluated."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeVar

from cilium_hybrid.api.conditions import Reason

Facts = TypeVar("Facts")

MAX_LENGTH: Final = 500
"""In characters, of each part of a violation; a value from a manifest may be of any length."""
NO_PATH: Final = "-"
"""The path of a violation that concerns a whole document."""
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
MAX_MESSAGE_LENGTH: Final = 16_000
"""In characters; half of what the message of a metav1.Condition may hold."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A violated rule: a reason for machines; for people a field path, what is wrong with both values, and the fix.

    `fix` is empty where the message already says which values are valid.
    """

    reason: Reason
    path: str
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        """Keep each part to one printable line, because a terminal would interpret control characters."""
        for name in ("path", "message", "fix"):
            object.__setattr__(self, name, one_line(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f"; {self.fix}" if self.fix else "")


Rule = Callable[[Facts], Iterable[Violation]]


def all_violations(chain: Sequence[Rule[Facts]], facts: Facts) -> tuple[Violation, ...]:
    """Return the violations of all rules, in the order of the chain."""
    return tuple(violation for rule in chain for violation in rule(facts))


def first_violation_and_count(violations: Sequence[Violation]) -> str:
    """Return the first violation and the number of the others, for condition Ready; Valid lists all of them."""
    more = len(violations) - 1
    return f"{violations[0]}" + (f" (and {more} more, see condition Valid)" if more else "")


def one_line(text: str) -> str:
    """Return a text cut to MAX_LENGTH, with control and invisible characters escaped."""
    short = text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", short)


def join_violations(violations: Sequence[Violation]) -> str:
    """Return as many violations as fit into a condition's message, and the number of the others."""
    texts = [str(violation) for violation in violations]
    lengths = list(accumulate(len(text) + 2 for text in texts))
    fitting = sum(length <= MAX_MESSAGE_LENGTH for length in lengths)
    more = len(texts) - fitting
    return "; ".join(texts[:fitting]) + (f"; and {more} more" if more else "")
