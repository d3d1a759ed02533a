"""`cilium-hybrid plan`: shows what a manifest would change in a cluster, and what blocks it; changes nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cilium_hybrid.adapters.clock import SystemClock
from cilium_hybrid.api.status import Status, parse_status
from cilium_hybrid.api.v1alpha1 import parse_spec
from cilium_hybrid.cli.findings import Finding, Manifest, Severity, read_manifests
from cilium_hybrid.cli.options import (
    ExitCode,
    KubeconfigOption,
    Output,
    OutputOption,
    format_document,
    kubeconfig_path,
    usage_error,
)
from cilium_hybrid.plan.classify import ReleaseClass, classify
from cilium_hybrid.plan.simulate import Simulation, simulate
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.plan.validate import validate
from cilium_hybrid.ports import ChartUnavailableError, ClusterUnavailableError
from cilium_hybrid.rules.lenient_spec import read_lenient_spec
from cilium_hybrid.rules.manifest_file import manifest_errors
from cilium_hybrid.rules.spec import ValidationResult

if TYPE_CHECKING:
    from cilium_hybrid.adapters.kube.snapshot import ClusterSnapshot
    from cilium_hybrid.api.versions import CiliumVersion


def plan(
    file: Annotated[str, typer.Argument(metavar="FILE", hidden=True)],
    output: OutputOption = Output.TEXT,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show what a manifest would change in the cluster.

    FILE has one CiliumHybrid, or is - for standard input. The steps are listed with what blocks them; nothing is
    changed. Charts are not downloaded: whether a chart accepts the values is checked by the operator. The registry is
    asked for versions only if the upgrade passes through other minor versions.

    Exit codes: 0 no changes, 1 refused or blocked, 2 usage error or no answer from the cluster or registry, 3 changes.
    """
    # Imported here: the commands that need no cluster start in half the time without it.
    from cilium_hybrid.adapters.kube.snapshot import read_snapshot  # noqa: PLC0415

    manifest = _read_manifest(file)
    try:
        cluster = asyncio.run(read_snapshot(kubeconfig_path(kubeconfig), _spec(manifest)))
        findings = manifest.findings(_validate(manifest, cluster))
        simulation = None
        if not any(finding.severity is Severity.REFUSED for finding in findings):
            simulation = _simulate(manifest, cluster)
    except (ClusterUnavailableError, ChartUnavailableError) as error:
        raise usage_error(str(error)) from None
    _print(output, findings, simulation)
    raise typer.Exit(_exit_code(simulation))


def _read_manifest(file: str) -> Manifest:
    try:
        manifests = read_manifests([file])
    except OSError as error:
        raise usage_error(f"cannot read {error.filename}: {error.strerror}") from None
    if len(manifests) != 1:
        raise usage_error(f"{file} contains {len(manifests)} CiliumHybrid resources; a plan needs exactly one")
    return manifests[0]


def _spec(manifest: Manifest) -> Any:
    return manifest.body.get("spec") if isinstance(manifest.body, Mapping) else None


def _validate(manifest: Manifest, cluster: "ClusterSnapshot") -> ValidationResult:
    if manifest.body is None:
        return ValidationResult()
    outside_spec = ValidationResult(tuple(manifest_errors(manifest.body)))
    raw, managed = _spec(manifest), classify(cluster.observation) is not ReleaseClass.NOT_OWNED
    # The operator's setting of allowed registries is unknown here, so every registry passes.
    return outside_spec + validate(
        raw, read_lenient_spec(raw), cluster.observation, cluster.lookups, registries=(), managed=managed
    )


def _simulate(manifest: Manifest, cluster: "ClusterSnapshot") -> Simulation:
    spec = parse_spec(manifest.body["spec"])
    available: Sequence[CiliumVersion] = ()
    status = _status(cluster)
    if find_upgrade_path(spec, cluster.observation, status).needs_versions:
        from cilium_hybrid.adapters.helm.registry import list_versions  # noqa: PLC0415

        available = asyncio.run(list_versions(spec.chart.ref))
    return simulate(
        spec,
        cluster.observation,
        cluster.released,
        SystemClock().now(),
        has_finalizer=cluster.resource is not None and cluster.resource.has_finalizer,
        available=available,
        planned=status,
    )


def _status(cluster: "ClusterSnapshot") -> Status:
    """Return the status that the operator wrote; its plan is valid as long as the spec does not change."""
    return (None if cluster.resource is None else parse_status(cluster.resource.status)) or Status()


def _exit_code(simulation: Simulation | None) -> int:
    if simulation is None or simulation.end.stalled:
        return ExitCode.FAILED
    return ExitCode.CHANGES if simulation.steps else 0


def _print(output: Output, findings: Sequence[Finding], simulation: Simulation | None) -> None:
    if output is not Output.TEXT:
        typer.echo(format_document(_document(findings, simulation), output), nl=False)
        return
    for finding in findings:
        typer.echo(str(finding))
    if simulation is None:
        typer.echo("Refused: nothing would be changed.")
        return
    for number, step in enumerate(simulation.steps, 1):
        typer.echo(f"{number}. {step.kind}: {step.message}")
        for note in step.notes:
            typer.echo(f"   note: {note}")
        for path in step.changed:
            typer.echo(f"   {path}")
    if simulation.end.stalled:
        typer.echo(f"Blocked: {simulation.end.reason}: {simulation.end.message}")
    else:
        typer.echo("No further changes." if simulation.steps else f"No changes. {simulation.end.message}.")


def _document(findings: Sequence[Finding], simulation: Simulation | None) -> dict[str, Any]:
    steps = [] if simulation is None else [asdict(step) for step in simulation.steps]
    end = None if simulation is None else {"reason": simulation.end.reason, "message": simulation.end.message}
    return {"findings": [asdict(finding) for finding in findings], "steps": steps, "end": end}
