"""Findings: what is wrong with the manifests of a call, and where it stands."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.cli.manifests import Document, read_documents
from cilium_hybrid.rules.manifest_file import is_ciliumhybrid
from cilium_hybrid.rules.rule import NOWHERE, Violation
from cilium_hybrid.rules.spec import ValidationResult

STDIN: Final = "-"
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})

REFUSED: Final = 1
"""Exit code of a command that refuses a manifest."""
UNUSABLE: Final = 2
"""Exit code of a call that cannot be used."""


class Output(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"


class Severity(StrEnum):
    """What a finding does: a warning lets a manifest pass, unless `--strict` is set."""

    REFUSED = "refused"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation, and where it stands."""

    file: str
    line: int
    severity: Severity
    path: str
    reason: str
    message: str
    fix: str

    def __str__(self) -> str:
        word = "warning: " if self.severity is Severity.WARNING else ""
        place = "" if self.path == NOWHERE else f"{self.path}: "
        return f"{self.file}:{self.line}: {word}{place}{self.reason}: {self.message}: {self.fix}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest of ours and where it stands; `body` is None where the document could not be read."""

    file: str
    document: Document
    body: Any
    above: str = ""
    faults: tuple[Violation, ...] = ()

    def findings(self, verdict: ValidationResult) -> list[Finding]:
        """A verdict on it, with what could not be read of it."""
        return [
            *(self._finding(Severity.REFUSED, fault, "") for fault in self.faults),
            *(self._finding(Severity.REFUSED, refusal, self.above) for refusal in verdict.refusals),
            *(self._finding(Severity.WARNING, warning, self.above) for warning in verdict.warnings),
        ]

    def _finding(self, severity: Severity, violation: Violation, above: str) -> Finding:
        place = violation.path if violation.path == NOWHERE else above + violation.path
        line = self.document.line_of(place)
        return Finding(self.file, line, severity, place, violation.reason, violation.message, violation.fix)


def read_manifests(names: Sequence[str]) -> list[Manifest]:
    """Every manifest of ours in files, folders and stdin (-), and every document that cannot be read; OSError."""
    texts = [(name, _text(name)) for name in _expand(names)]
    return [one for name, text in texts for document in _documents(text) for one in _manifests(name, document)]


def _expand(names: Sequence[str]) -> Iterator[str]:
    """Files as they are named, and those in the folders that are."""
    for name in names:
        if name != STDIN and Path(name).is_dir():
            yield from (str(path) for path in sorted(Path(name).rglob("*")) if path.suffix in SUFFIXES)
        else:
            yield name


def _text(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()


def _documents(text: bytes) -> Iterator[Document]:
    try:
        yield from read_documents(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        yield Document(None, line, (Violation(Reason.INVALID_SPEC, NOWHERE, "is no UTF-8 text", "save it as UTF-8"),))


def _manifests(file: str, document: Document) -> Iterator[Manifest]:
    """The manifests of ours in a document; its own faults go with the first, once."""
    faults = document.faults
    if document.body is None and faults:
        yield Manifest(file, document, None, faults=faults)
    for body, above in _one_by_one(document.body):
        if is_ciliumhybrid(body):
            yield Manifest(file, document, body, above, faults)
            faults = ()


def _one_by_one(body: Any) -> Iterator[tuple[Any, str]]:
    """The manifests of a document, those inside a list too, each with what its paths begin with."""
    items = body.get("items") if isinstance(body, dict) else None
    if isinstance(items, list) and str(body.get("kind")).endswith("List"):
        for index, item in enumerate(items):
            yield item, f"items[{index}]."
    else:
        yield body, ""
