"""`cilium-hybrid validate`: judge manifests by themselves, without a cluster."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from cilium_hybrid.cli.findings import REFUSED, UNUSABLE, Finding, Manifest, Output, Severity, read_manifests
from cilium_hybrid.rules.manifest_file import validate_manifest
from cilium_hybrid.rules.spec import ValidationResult


def validate(
    files: Annotated[
        list[str], typer.Argument(help="Files, folders (every .yaml, .yml and .json in them), - for stdin.")
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what only is warned of.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="One line a finding, or JSON.")] = Output.TEXT,
) -> None:
    """Judge CiliumHybrid manifests offline. Exit code: 0 fine, 1 refused, 2 the call cannot be used."""
    try:
        manifests = read_manifests(files)
    except OSError as error:
        typer.echo(f"cilium-hybrid: cannot read {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(UNUSABLE) from None
    findings = [finding for manifest in manifests for finding in manifest.findings(_verdict(manifest))]
    _print(output, len(manifests), findings)
    refused = any(strict or finding.severity is Severity.REFUSED for finding in findings)
    raise typer.Exit(REFUSED if refused else 0)


def _verdict(manifest: Manifest) -> ValidationResult:
    return ValidationResult() if manifest.body is None else validate_manifest(manifest.body)


def _print(output: Output, manifests: int, findings: Sequence[Finding]) -> None:
    if output is Output.JSON:
        told = {"manifests": manifests, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(told, indent=2))
        return
    for finding in findings:
        typer.echo(str(finding))
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    counts = f"{_counted(len(findings) - warnings, 'refusal')}, {_counted(warnings, 'warning')}"
    typer.echo(f"{manifests} CiliumHybrid judged: {counts}", err=True)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
