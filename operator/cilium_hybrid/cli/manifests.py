"""Reads manifest files: YAML or JSON, several documents in a file, with the line number of each value.

Values are read as kubectl reads them (YAML 1.1, https://sigs.k8s.io/yaml). Size and depth are limited, so that no input
takes more than a moment.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rule import NO_PATH, Violation
from cilium_hybrid.rules.text import format_value

MAX_CHARACTERS: Final = 3 * 1024 * 1024
"""With aliases expanded: the API server accepts no larger request."""
MAX_DEPTH: Final = 100
_NODE_WEIGHT: Final = 32
"""Characters that each value counts in addition to its own."""
_LOWERCASE_KIND: Final = "ciliumhybrid"
_MERGE: Final = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Document:
    """One document that mentions CiliumHybrid: its JSON value, and errors for the parts that could not be read."""

    body: Any
    line: int
    errors: tuple[Violation, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """Return the line of a path such as spec.ipam.podCIDRs[0], or of its nearest parent in the document."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, self.line)


def read_documents(text: str) -> Iterator[Document]:
    """Yield every document that contains the word CiliumHybrid; other documents are ignored, readable or not."""
    for line, part in _split_documents(text):
        if _LOWERCASE_KIND in part.lower():
            yield _read(part, line)


def _split_documents(text: str) -> Iterator[tuple[int, str]]:
    """Yield each document with the line that it starts on. Only a separator starts a line with three dashes."""
    first, lines = 1, list[str]()
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if line.startswith("---") and not line[3:4].strip():
            yield first, "".join(lines)
            # Text after the dashes belongs to the document that they start.
            first, lines = number, [f"   {line[3:]}"]
        else:
            lines.append(line)
    yield first, "".join(lines)


def _read(text: str, line: int) -> Document:
    try:
        _check_limits(text)
        node = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        return Document(None, line, (_error(NO_PATH, f"invalid YAML: {_describe(error, line)}", "fix the syntax"),))
    except _LimitError as error:
        return Document(None, line, (_error(NO_PATH, str(error), error.fix),))
    if node is None:
        return Document(None, line)
    builder = _JsonBuilder(_Loader(""), line)
    if isinstance(node, ScalarNode):
        message = f"Invalid value: {format_value(node.value)}: must be a mapping"
        return Document(None, line, (_error(NO_PATH, message, "write a CiliumHybrid manifest"),))
    return Document(builder.value(node, ""), node.start_mark.line + line, tuple(builder.errors), builder.lines)


def _describe(error: yaml.YAMLError, line: int) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} on line {error.problem_mark.line + line}"
    return str(getattr(error, "reason", error))


def _error(path: str, message: str, fix: str) -> Violation:
    return Violation(Reason.INVALID_SPEC, path, message, fix)


class _LimitError(Exception):
    """The document is larger or deeper than a manifest may be, or has an alias that cannot be expanded."""

    def __init__(self, message: str, fix: str = "simplify the manifest") -> None:
        super().__init__(message)
        self.fix = fix


def _check_limits(text: str) -> None:
    """Reject a document that is too deep or too large before it is parsed into nodes; yaml.YAMLError, _LimitError.

    The parser that builds nodes would crash the whole process on text that is nested deeply enough.
    """
    if len(text) > MAX_CHARACTERS:
        raise _LimitError(f"{len(text)} characters long; the API server accepts at most {MAX_CHARACTERS}")
    size = _DocumentSize()
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        size.add(event)


class _DocumentSize:
    """Depth and weight of the events so far; an alias weighs as much as the value that it refers to."""

    def __init__(self) -> None:
        self._weight = 0
        self._anchors: dict[str | None, int] = {}
        # For each mapping or sequence that is still open: its anchor, and the weight before it.
        self._open: list[tuple[str | None, int]] = []

    def add(self, event: yaml.Event) -> None:
        """Add one event; _LimitError."""
        before = self._weight
        self._weight += _NODE_WEIGHT
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                message = f"alias *{event.anchor} refers to an undefined or enclosing anchor"
                raise _LimitError(message, "define the anchor before the alias")
            self._weight += self._anchors[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            self._weight += len(event.value)
            self._anchors[event.anchor] = self._weight - before
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, before))
            if len(self._open) > MAX_DEPTH:
                raise _LimitError(f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            self._anchors[anchor] = self._weight - before
        if self._weight > MAX_CHARACTERS:
            raise _LimitError(f"larger than the {MAX_CHARACTERS} characters that the API server accepts")


class _Loader(yaml.CSafeLoader):
    """Reads scalars as kubectl does: a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":value"))]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class _JsonBuilder:
    """Builds a JSON value from YAML nodes, and collects the line of each part and the errors in it."""

    def __init__(self, loader: _Loader, first_line: int) -> None:
        self._loader, self._first_line = loader, first_line
        self.lines: dict[str, int] = {}
        self.errors: list[Violation] = []

    def value(self, node: Node, path: str) -> Any:
        """Return the value of a node; None if it has no JSON value, which adds an error."""
        self.lines.setdefault(path, self._line_of(node))
        match node:
            case MappingNode():
                return self._mapping(node, path)
            case SequenceNode():
                return [self.value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
            case _:
                return self._scalar(node, path)

    def _line_of(self, node: Node) -> int:
        return int(node.start_mark.line) + self._first_line

    def _add_error(self, path: str, message: str, fix: str) -> None:
        self.errors.append(_error(path or NO_PATH, message, fix))

    def _mapping(self, node: MappingNode, path: str) -> dict[str, Any]:
        self._check_duplicates(node, path)
        try:
            self._loader.flatten_mapping(node)
        except yaml.YAMLError as error:
            self._add_error(path, _describe(error, self._first_line), "merge a mapping or a list of mappings")
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            name = self._key(key, path)
            if name is None:
                continue
            child = f"{path}.{name}" if path else name
            # Merged keys come first; a key of the mapping itself overrides them.
            self.lines[child] = self._line_of(key)
            mapping[name] = self.value(value, child)
        return mapping

    def _check_duplicates(self, node: MappingNode, path: str) -> None:
        """Report duplicate keys: most parsers silently use the last one, and kubectl rejects them."""
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag == _MERGE:
                continue
            if key.value in keys:
                child = f"{path}.{key.value}" if path else key.value
                self._add_error(child, f"duplicate key, repeated on line {self._line_of(key)}", "remove one of the two")
            keys.add(key.value)

    def _key(self, key: Node, path: str) -> str | None:
        name = self._scalar(key, path) if isinstance(key, ScalarNode) else None
        if isinstance(name, str):
            return name
        if name is None or isinstance(name, float):
            self._add_error(path, "has a key that is not a string", "quote the key, or render the template first")
            return None
        return json.dumps(name)

    def _scalar(self, node: Node, path: str) -> Any:
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            value = math.nan
        # The API server is sent JSON, which cannot represent anything else.
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            message = f"Invalid value: {format_value(str(node.value))}: cannot be represented in JSON"
            self._add_error(path, message, "remove it")
            return None
        return value
