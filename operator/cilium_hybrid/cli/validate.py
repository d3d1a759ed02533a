"""`cilium-hybrid validate`: judge manifests by themselves, without a cluster."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.cli.manifests import Document, read_documents
from cilium_hybrid.rules.resource import is_meant_as_ours, judge_manifest
from cilium_hybrid.rules.rule import NOWHERE, Violation

STDIN: Final = "-"
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})

REFUSED: Final = 1
UNUSABLE: Final = 2


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


def validate(
    files: Annotated[
        list[str], typer.Argument(help="Files, folders (every .yaml, .yml and .json in them), - for stdin.")
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what only is warned of.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="One line a finding, or JSON.")] = Output.TEXT,
) -> None:
    """Judge CiliumHybrid manifests offline. Exit code: 0 fine, 1 refused, 2 the call cannot be used."""
    try:
        texts = [(name, _text(name)) for name in _expand(files)]
    except OSError as error:
        typer.echo(f"cilium-hybrid: cannot read {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(UNUSABLE) from None
    judged = [one for name, text in texts for document in _documents(text) for one in _judge(name, document)]
    findings = [finding for manifest in judged for finding in manifest]
    _print(output, len(judged), findings)
    refused = any(strict or finding.severity is Severity.REFUSED for finding in findings)
    raise typer.Exit(REFUSED if refused else 0)


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


def _judge(file: str, document: Document) -> Iterator[list[Finding]]:
    """The findings of each manifest of ours in a document, and of a document that cannot be read."""
    ours = [(body, path) for body, path in _one_by_one(document.body, "") if is_meant_as_ours(body)]
    if document.faults and (ours or document.body is None):
        yield [_finding(file, document, Severity.REFUSED, fault) for fault in document.faults]
    for body, path in ours:
        verdict = judge_manifest(body)
        yield [
            *(_finding(file, document, Severity.REFUSED, refusal, path) for refusal in verdict.refusals),
            *(_finding(file, document, Severity.WARNING, warning, path) for warning in verdict.warnings),
        ]


def _one_by_one(body: Any, path: str) -> Iterator[tuple[Any, str]]:
    """The manifests of a document, those inside a list too, each with the path that it stands at."""
    items = body.get("items") if isinstance(body, dict) else None
    if isinstance(items, list) and str(body.get("kind")).endswith("List"):
        for index, item in enumerate(items):
            yield item, f"{path}items[{index}]."
    else:
        yield body, path


def _finding(file: str, document: Document, severity: Severity, violation: Violation, above: str = "") -> Finding:
    place = violation.path if violation.path == NOWHERE else above + violation.path
    line = document.line_of(place)
    return Finding(file, line, severity, place, violation.reason, violation.message, violation.fix)


def _print(output: Output, manifests: int, findings: Sequence[Finding]) -> None:
    if output is Output.JSON:
        told = {"manifests": manifests, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(told, indent=2))
        return
    for finding in findings:
        typer.echo(str(finding))
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    typer.echo(f"{manifests} CiliumHybrid judged: {len(findings) - warnings} refusals, {warnings} warnings", err=True)
