"""`cilium-hybrid plan`: what a manifest would change in a cluster, and what blocks it; it changes nothing."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cilium_hybrid.adapters.clock import SystemClock
from cilium_hybrid.api.status import Status, parse_status
from cilium_hybrid.api.v1alpha1 import parse_spec
from cilium_hybrid.cli.findings import REFUSED, UNUSABLE, Finding, Manifest, Output, Severity, read_manifests
from cilium_hybrid.plan.release import is_managed
from cilium_hybrid.plan.simulate import Simulation, simulate
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.plan.validate import validate
from cilium_hybrid.ports import ChartUnavailableError, ClusterUnavailableError
from cilium_hybrid.rules.manifest_file import manifest_errors
from cilium_hybrid.rules.spec import ValidationResult
from cilium_hybrid.settings import kubeconfig_of

if TYPE_CHECKING:
    from cilium_hybrid.adapters.kube.snapshot import Look
    from cilium_hybrid.api.versions import CiliumVersion

CHANGES: Final = 3
"""Exit code of a plan that is not empty."""


def plan(
    file: Annotated[str, typer.Argument(help="A file with one CiliumHybrid, - for stdin.")],
    output: Annotated[Output, typer.Option("--output", "-o", help="Lines for people, or JSON.")] = Output.TEXT,
) -> None:
    """Tell what a manifest would change in the cluster of KUBECONFIG, and what blocks it; change nothing.

    Charts are not fetched, so what a chart itself refuses is seen by the operator only; the registry is asked for its
    versions where minor releases lie in between. Exit code: 0 nothing to do, 3 changes, 1 refused, 2 the call cannot be
    used.
    """
    # Imported here: the commands that need no cluster start in half the time without it.
    from cilium_hybrid.adapters.kube.snapshot import look  # noqa: PLC0415

    manifest = _only(file)
    try:
        looked = asyncio.run(look(kubeconfig_of(os.environ), _spec(manifest)))
        findings = manifest.findings(_verdict(manifest, looked))
        planned = None
        if not any(finding.severity is Severity.REFUSED for finding in findings):
            planned = _preview(manifest, looked)
    except (ClusterUnavailableError, ChartUnavailableError) as error:
        raise _unusable(str(error)) from None
    _print(output, findings, planned)
    raise typer.Exit(_exit_code(planned))


def _preview(manifest: Manifest, looked: "Look") -> Simulation:
    spec, generation = parse_spec(manifest.body["spec"]), _generation(manifest, looked)
    available: Sequence[CiliumVersion] = ()
    planned = _planned(looked)
    if find_upgrade_path(spec, looked.observation, planned, generation).unknown:
        from cilium_hybrid.adapters.helm.registry import list_versions  # noqa: PLC0415

        available = asyncio.run(list_versions(spec.chart.ref))
    return simulate(
        spec,
        looked.observation,
        looked.released,
        SystemClock().now(),
        has_finalizer=looked.resource is not None and looked.resource.has_finalizer,
        generation=generation,
        available=available,
        planned=planned,
    )


def _planned(looked: "Look") -> Status:
    """The status as the operator wrote it, whose plan counts while the spec stays as it is."""
    return (None if looked.resource is None else parse_status(looked.resource.status)) or Status()


def _only(file: str) -> Manifest:
    try:
        manifests = read_manifests([file])
    except OSError as error:
        raise _unusable(f"cannot read {error.filename}: {error.strerror}") from None
    if len(manifests) != 1:
        raise _unusable(f"{file} holds {len(manifests)} CiliumHybrid, and a plan is of one")
    return manifests[0]


def _unusable(message: str) -> typer.Exit:
    typer.echo(f"cilium-hybrid: {message}", err=True)
    return typer.Exit(UNUSABLE)


def _spec(manifest: Manifest) -> Any:
    return manifest.body.get("spec") if isinstance(manifest.body, Mapping) else None


def _verdict(manifest: Manifest, looked: "Look") -> ValidationResult:
    if manifest.body is None:
        return ValidationResult()
    around = ValidationResult(tuple(manifest_errors(manifest.body)))
    managed = is_managed(looked.observation)
    # Which registries the operator allows is a setting of the operator's process.
    return around + validate(_spec(manifest), looked.observation, looked.lookups, (), managed=managed)


def _generation(manifest: Manifest, looked: "Look") -> int:
    """The generation that the resource has, or gets where the manifest changes it."""
    if looked.resource is None:
        return 1
    changes: bool = looked.resource.spec != _spec(manifest)
    return looked.resource.generation + changes


def _exit_code(planned: Simulation | None) -> int:
    if planned is None or planned.end.stalled:
        return REFUSED
    return CHANGES if planned.steps else 0


def _print(output: Output, findings: Sequence[Finding], planned: Simulation | None) -> None:
    if output is Output.JSON:
        steps = [] if planned is None else [asdict(step) for step in planned.steps]
        end = None if planned is None else {"reason": planned.end.reason, "message": planned.end.message}
        told = {"findings": [asdict(finding) for finding in findings], "steps": steps, "end": end}
        typer.echo(json.dumps(told, indent=2))
        return
    for finding in findings:
        typer.echo(str(finding))
    if planned is None:
        typer.echo("refused: nothing would be changed")
        return
    for number, step in enumerate(planned.steps, 1):
        typer.echo(f"{number}. {step.kind}: {step.message}")
        for note in step.notes:
            typer.echo(f"   note: {note}")
        for path in step.changed:
            typer.echo(f"   {path}")
    if planned.end.stalled:
        typer.echo(f"blocked: {planned.end.reason}: {planned.end.message}")
    else:
        typer.echo("nothing more to do" if planned.steps else f"nothing to do: {planned.end.message}")
