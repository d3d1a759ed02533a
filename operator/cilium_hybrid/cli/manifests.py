"""Manifests as people write them: YAML and JSON, several documents a file, each value with its line.

Read as kubectl does (YAML 1.1, https://sigs.k8s.io/yaml), and bounded: no text whatever takes more than a moment.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rule import NOWHERE, Violation
from cilium_hybrid.rules.schema_errors import shown

LONGEST: Final = 3 * 1024 * 1024
"""In characters, aliases written out: the API server takes no larger request."""
DEEPEST: Final = 100
_A_NODE: Final = 32
"""What a value counts for beside its characters."""
_WORD: Final = "ciliumhybrid"
_MERGE: Final = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Document:
    """One document that speaks of CiliumHybrid: a JSON value, and the faults that kept some of it from being read."""

    body: Any
    line: int
    faults: tuple[Violation, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """The line of what stands at a path such as spec.ipam.podCIDRs[0], else of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, self.line)


def read_documents(text: str) -> Iterator[Document]:
    """Every document of a text that has the word CiliumHybrid in it; what else is there is no concern of ours."""
    for line, part in _parts(text):
        if _WORD in part.lower():
            yield _read(part, line)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """The documents with the line that each begins on. Nothing but their border begins a line with three dashes."""
    first, lines = 1, list[str]()
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if line.startswith("---") and not line[3:4].strip():
            yield first, "".join(lines)
            # What stands behind the dashes belongs to the document that they begin.
            first, lines = number, [f"   {line[3:]}"]
        else:
            lines.append(line)
    yield first, "".join(lines)


def _read(text: str, line: int) -> Document:
    try:
        _weigh(text)
        node = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        return Document(None, line, (_fault(NOWHERE, f"is no YAML: {_words(error, line)}", "correct it"),))
    except _TooMuchError as error:
        return Document(None, line, (_fault(NOWHERE, str(error), "take out what no manifest needs"),))
    if node is None:
        return Document(None, line)
    tree = _Tree(_Loader(""), line)
    if isinstance(node, ScalarNode):
        return Document(None, line, (_fault(NOWHERE, f"is {shown(node.value)} and no manifest", "write one"),))
    return Document(tree.value(node, ""), node.start_mark.line + line, tuple(tree.faults), tree.lines)


def _words(error: yaml.YAMLError, line: int) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} on line {error.problem_mark.line + line}"
    return str(getattr(error, "reason", error))


def _fault(path: str, message: str, fix: str) -> Violation:
    return Violation(Reason.INVALID_SPEC, path, message, fix)


class _TooMuchError(Exception):
    """More than a manifest can hold; the message says what."""


def _weigh(text: str) -> None:
    """Refuse what is too deep or too large before anything is made of it; yaml.YAMLError, _TooMuchError.

    The parser that makes nodes would end the whole process on text that is nested deeply enough.
    """
    if len(text) > LONGEST:
        raise _TooMuchError(f"has {len(text)} characters, and the API server takes {LONGEST}")
    scale = _Scale()
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        scale.put(event)


class _Scale:
    """Depth and weight of what was parsed so far; an alias weighs what it stands for."""

    def __init__(self) -> None:
        self._weight = 0
        self._named: dict[str | None, int] = {}
        # For each map or list that is not closed yet: its anchor, and the weight before it.
        self._open: list[tuple[str | None, int]] = []

    def put(self, event: yaml.Event) -> None:
        """Add one event; _TooMuchError."""
        before = self._weight
        self._weight += _A_NODE
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._named:
                raise _TooMuchError(f"holds *{event.anchor}, which is nowhere before it, or around it")
            self._weight += self._named[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            self._weight += len(event.value)
            self._named[event.anchor] = self._weight - before
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, before))
            if len(self._open) > DEEPEST:
                raise _TooMuchError(f"is nested deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            self._named[anchor] = self._weight - before
        if self._weight > LONGEST:
            raise _TooMuchError(f"holds more than the {LONGEST} characters that the API server takes")


class _Loader(yaml.CSafeLoader):
    """Scalars as kubectl takes them, to which a date is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith((":timestamp", ":value"))]
    for first, known in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class _Tree:
    """A JSON value from YAML's nodes, with the line of each part and the faults that were met."""

    def __init__(self, loader: _Loader, first_line: int) -> None:
        self._loader, self._first_line = loader, first_line
        self.lines: dict[str, int] = {}
        self.faults: list[Violation] = []

    def value(self, node: Node, path: str) -> Any:
        """The value of a node; None where it has none."""
        self.lines.setdefault(path, node.start_mark.line + self._first_line)
        match node:
            case MappingNode():
                return self._map(node, path)
            case SequenceNode():
                return [self.value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
            case _:
                return self._scalar(node, path)

    def _map(self, node: MappingNode, path: str) -> dict[str, Any]:
        self._name_the_doubled(node, path)
        try:
            self._loader.flatten_mapping(node)
        except yaml.YAMLError as error:
            self.faults.append(
                _fault(path or NOWHERE, _words(error, self._first_line), "merge a map, or a list of maps")
            )
        made: dict[str, Any] = {}
        for key, value in node.value:
            name = self._name(key, path)
            if name is None:
                continue
            here = f"{path}.{name}" if path else name
            # What was merged comes first, and what is written here takes its place.
            self.lines[here] = key.start_mark.line + self._first_line
            made[name] = self.value(value, here)
        return made

    def _name_the_doubled(self, node: MappingNode, path: str) -> None:
        """Most readers take the last of two without a word, and kubectl refuses both."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag == _MERGE:
                continue
            if key.value in seen:
                here = f"{path}.{key.value}" if path else key.value
                line = key.start_mark.line + self._first_line
                self.faults.append(_fault(here, f"is written a second time on line {line}", "make one of the two"))
            seen.add(key.value)

    def _name(self, key: Node, path: str) -> str | None:
        name = self._scalar(key, path) if isinstance(key, ScalarNode) else None
        if isinstance(name, str):
            return name
        if name is None or isinstance(name, float):
            fix = "write a text, or render the template first that this is"
            self.faults.append(_fault(path or NOWHERE, "has a key that is no text", fix))
            return None
        return json.dumps(name)

    def _scalar(self, node: Node, path: str) -> Any:
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            value = math.nan
        # JSON, in which the API server is spoken to, has no word for anything else.
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            self.faults.append(
                _fault(path or NOWHERE, f"is {shown(str(node.value))}, which JSON cannot hold", "take it out")
            )
            return None
        return value
