"""`cilium-hybrid validate`: validates manifests offline, without a cluster."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from cilium_hybrid.cli.findings import Finding, Manifest, Severity, read_manifests
from cilium_hybrid.cli.options import ExitCode, Output, OutputOption, format_document, usage_error
from cilium_hybrid.rules.manifest_file import validate_manifest
from cilium_hybrid.rules.spec import ValidationResult
from cilium_hybrid.rules.text import count_of


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE", hidden=True)],
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Validate CiliumHybrid manifests offline.

    FILE is a file, a directory with .yaml, .yml and .json files, or - for standard input. Other kinds are ignored. No
    cluster is contacted: the operator checks the same rules again, against the cluster.

    Exit codes: 0 valid, 1 refused, 2 usage error or unreadable file.
    """
    try:
        manifests = read_manifests(files)
    except OSError as error:
        raise usage_error(f"cannot read {error.filename}: {error.strerror}") from None
    results = [manifest.findings(_validate(manifest)) for manifest in manifests]
    refused = sum(any(strict or finding.severity is Severity.REFUSED for finding in result) for result in results)
    _print(output, len(manifests), refused, [finding for result in results for finding in result])
    raise typer.Exit(ExitCode.FAILED if refused else 0)


def _validate(manifest: Manifest) -> ValidationResult:
    return ValidationResult() if manifest.body is None else validate_manifest(manifest.body)


def _print(output: Output, manifests: int, refused: int, findings: Sequence[Finding]) -> None:
    if output is not Output.TEXT:
        document = {"manifests": manifests, "findings": [asdict(finding) for finding in findings]}
        typer.echo(format_document(document, output), nl=False)
        return
    for finding in findings:
        typer.echo(str(finding))
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    counts = f"{refused} refused, {count_of(warnings, 'warning', 'warnings')}"
    typer.echo(f"{count_of(manifests, 'manifest', 'manifests')} validated: {counts}", err=True)
