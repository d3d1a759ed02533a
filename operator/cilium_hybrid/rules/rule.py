"""What a rule is, and how a chain of them is applied."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeVar

from cilium_hybrid.api.conditions import Reason

Facts = TypeVar("Facts")

LONGEST: Final = 500
"""In characters, of a path and of a message: what somebody wrote may be of any length."""
NOWHERE: Final = "-"
"""The path of what is at fault as a whole."""
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
LONGEST_MESSAGE: Final = 16_000
"""Half of what metav1.Condition has room for, in characters."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: a reason for machines; for people a path, a fact with both values, and the way out."""

    reason: Reason
    path: str
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        """Keep each part to one line of what can be seen: a terminal obeys the rest."""
        for name in ("path", "message", "fix"):
            object.__setattr__(self, name, one_line(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f": {self.fix}" if self.fix else "")


Rule = Callable[[Facts], Iterable[Violation]]


def all_violations(chain: Sequence[Rule[Facts]], facts: Facts) -> tuple[Violation, ...]:
    """Every violation of every rule, in the order of the chain."""
    return tuple(violation for rule in chain for violation in rule(facts))


def first_violation_and_count(violations: Sequence[Violation]) -> str:
    """The first violation in words, and the number of the others; Ready repeats no more than that."""
    more = len(violations) - 1
    return f"{violations[0]}" + (f" (and {more} more, see condition Valid)" if more else "")


def one_line(text: str) -> str:
    """A text in a sentence: short, and with escapes in the place of what a terminal obeys or nobody sees."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", short)


def join_violations(violations: Sequence[Violation]) -> str:
    """Every one of them, as far as a condition's message has room."""
    texts = [str(violation) for violation in violations]
    room = list(accumulate(len(text) + 2 for text in texts))
    fitting = sum(used <= LONGEST_MESSAGE for used in room)
    more = len(texts) - fitting
    return "; ".join(texts[:fitting]) + (f"; and {more} more" if more else "")
