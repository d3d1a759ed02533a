"""What a rule is, and how a chain of them is applied."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cilium_hybrid.api.conditions import Reason

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: a reason for machines; for people a path, a fact with both values, and the way out."""

    reason: Reason
    path: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f": {self.fix}" if self.fix else "")


Rule = Callable[[Facts], Iterable[Violation]]


def all_violations(chain: Sequence[Rule[Facts]], facts: Facts) -> tuple[Violation, ...]:
    """Every violation of every rule, in the order of the chain."""
    return tuple(violation for rule in chain for violation in rule(facts))


def first_and_how_many_more(violations: Sequence[Violation]) -> str:
    """The first violation in words, and the number of the others; Ready repeats no more than that."""
    more = len(violations) - 1
    return f"{violations[0]}" + (f" (and {more} more, see condition Valid)" if more else "")
