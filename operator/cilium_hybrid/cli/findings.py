"""Reads the manifests that a command is given, and reports the violations in them with file and line."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.cli.manifests import Document, read_documents
from cilium_hybrid.rules.manifest_file import is_ciliumhybrid
from cilium_hybrid.rules.rule import NO_PATH, Violation
from cilium_hybrid.rules.spec import ValidationResult

STDIN: Final = "-"
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})


class Severity(StrEnum):
    """How severe a finding is; a warning refuses a manifest only with `--strict`."""

    REFUSED = "refused"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation with its file and line."""

    file: str
    line: int
    severity: Severity
    path: str
    reason: str
    message: str
    fix: str

    def __str__(self) -> str:
        word = "warning: " if self.severity is Severity.WARNING else ""
        place = "" if self.path == NO_PATH else f"{self.path}: "
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.file}:{self.line}: {word}{place}{self.reason}: {self.message}{fix}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A CiliumHybrid manifest. `body` is None if the document could not be read, `errors` says why.

    `parent` is the path of a list item in its document, such as `items[0].`, else empty.
    """

    file: str
    document: Document
    body: Any
    parent: str = ""
    errors: tuple[Violation, ...] = ()

    def findings(self, result: ValidationResult) -> list[Finding]:
        """Return the errors of reading and validating it."""
        return [
            *(self._finding(Severity.REFUSED, error, "") for error in self.errors),
            *(self._finding(Severity.REFUSED, refusal, self.parent) for refusal in result.refusals),
            *(self._finding(Severity.WARNING, warning, self.parent) for warning in result.warnings),
        ]

    def _finding(self, severity: Severity, violation: Violation, parent: str) -> Finding:
        path = violation.path if violation.path == NO_PATH else parent + violation.path
        line = self.document.line_of(path)
        return Finding(self.file, line, severity, path, violation.reason, violation.message, violation.fix)


def read_manifests(names: Sequence[str]) -> list[Manifest]:
    """Return every CiliumHybrid and every unreadable document in files, folders and standard input (-); OSError."""
    texts = [(name, _read(name)) for name in _expand(names)]
    return [
        manifest for name, text in texts for document in _documents(text) for manifest in _manifests_in(name, document)
    ]


def _expand(names: Sequence[str]) -> Iterator[str]:
    """Yield the named files, and the manifest files in the named folders."""
    for name in names:
        if name != STDIN and Path(name).is_dir():
            yield from (str(path) for path in sorted(Path(name).rglob("*")) if path.suffix in SUFFIXES)
        else:
            yield name


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()


def _documents(text: bytes) -> Iterator[Document]:
    try:
        yield from read_documents(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        yield Document(None, line, (Violation(Reason.INVALID_SPEC, NO_PATH, "not UTF-8", "save the file as UTF-8"),))


def _manifests_in(file: str, document: Document) -> Iterator[Manifest]:
    """Yield the manifests in a document; the first one carries the document's own errors."""
    errors = document.errors
    if document.body is None and errors:
        yield Manifest(file, document, None, errors=errors)
    for body, parent in _items(document.body):
        if is_ciliumhybrid(body):
            yield Manifest(file, document, body, parent, errors)
            errors = ()


def _items(body: Any) -> Iterator[tuple[Any, str]]:
    """Yield the items of a List, or the document itself, each with the start of its paths."""
    items = body.get("items") if isinstance(body, dict) else None
    if isinstance(items, list) and str(body.get("kind")).endswith("List"):
        for index, item in enumerate(items):
            yield item, f"items[{index}]."
    else:
        yield body, ""
