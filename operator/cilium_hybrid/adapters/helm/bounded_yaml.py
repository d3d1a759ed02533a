"""YAML from charts and from Helm, parsed within limits: a few bytes can otherwise take any amount of memory or time."""

import re
from typing import Any, Final

import yaml

MAX_NODES: Final = 100_000
"""Maps, lists, keys and values, with what aliases repeat. The values and the manifests of Cilium have about 4,000."""
MAX_DEPTH: Final = 100
"""Of maps and lists; libyaml takes quadratic time, and PyYAML crashes, at a depth of tens of thousands."""
MAX_NUMBER_LENGTH: Final = 1_000
"""In characters; the time to parse a number grows with the square of its length."""
MAX_LONG_NUMBERS: Final = 1_000
"""Numbers beyond 15 characters, which can be chosen so that as keys of a map all of them have the same hash."""
_LONG: Final = 15
_NUMBER: Final = re.compile(r"[-+.]?[0-9][-+0-9a-fA-Fox._:]*")


class InvalidYAMLError(Exception):
    """The text is not valid YAML or exceeds a limit. The message says which, and quotes nothing."""


def load_all(text: bytes | str) -> list[Any]:
    """Return the documents in a text; InvalidYAMLError."""
    try:
        _check(text)
        return list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise InvalidYAMLError(f"is not valid YAML{where}") from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        # PyYAML raises most of these for a tag that does not fit its value, such as `!!int x`.
        raise InvalidYAMLError("is not valid YAML") from None


def load(text: bytes | str) -> Any:
    """Return the only document in a text, None if there is none; InvalidYAMLError."""
    documents = load_all(text)
    if len(documents) > 1:
        raise InvalidYAMLError("has more than one YAML document")
    return documents[0] if documents else None


def _check(text: bytes | str) -> None:
    """Parse the text event by event, in constant memory, and raise InvalidYAMLError if it exceeds a limit."""
    size = _Size()
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        size.add(event)


class _Size:
    """The size of what the events so far build, where each alias counts as much as what it repeats."""

    def __init__(self) -> None:
        self._total, self._long_numbers = 0, 0
        self._opened: list[tuple[str | None, int]] = []
        self._anchored: dict[str, int] = {}

    def add(self, event: yaml.Event) -> None:
        """Add an event; InvalidYAMLError."""
        match event:
            case yaml.DocumentStartEvent():
                self._anchored.clear()
                self._count(None, 1)
            case yaml.AliasEvent(anchor=anchor):
                # Its map or list may not have ended: the result would contain itself.
                if anchor not in self._anchored:
                    raise InvalidYAMLError("has an alias without an anchor before it")
                self._count(None, self._anchored[anchor])
            case yaml.ScalarEvent(anchor=anchor):
                self._check_number(event)
                self._count(anchor, 1)
            case yaml.CollectionStartEvent(anchor=anchor):
                self._opened.append((anchor, self._total))
                if len(self._opened) > MAX_DEPTH:
                    raise InvalidYAMLError(f"has more than {MAX_DEPTH} levels")
                self._count(None, 1)
            case yaml.CollectionEndEvent():
                anchor, before = self._opened.pop()
                if anchor is not None:
                    self._anchored[anchor] = self._total - before
            case _:
                pass

    def _count(self, anchor: str | None, nodes: int) -> None:
        self._total += nodes
        if anchor is not None:
            self._anchored[anchor] = nodes
        if self._total > MAX_NODES:
            raise InvalidYAMLError(f"has more than {MAX_NODES} values, including those that aliases repeat")

    def _check_number(self, scalar: yaml.ScalarEvent) -> None:
        # Quotes make a string of it, unless there is a tag.
        may_be_number = not scalar.style or scalar.tag is not None
        if may_be_number and len(scalar.value) > _LONG and _NUMBER.fullmatch(scalar.value):
            self._long_numbers += 1
            if len(scalar.value) > MAX_NUMBER_LENGTH or self._long_numbers > MAX_LONG_NUMBERS:
                raise InvalidYAMLError("has a number that is too long, or too many long numbers")
