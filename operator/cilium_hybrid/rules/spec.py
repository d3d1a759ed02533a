"""The rules on a spec by itself, and the one judgement that the operator and the command share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.change import CHANGE_RULES, Change, Running
from cilium_hybrid.rules.cidrs import ADDED_CIDR_RULES, CIDR_RULES
from cilium_hybrid.rules.lenient_spec import LenientSpec, read_lenient_spec
from cilium_hybrid.rules.rendered.images import IMAGE_RULES
from cilium_hybrid.rules.rule import Rule, Violation, all_violations
from cilium_hybrid.rules.schema_errors import schema_errors
from cilium_hybrid.rules.supported_minors import MINORS
from cilium_hybrid.rules.values import VALUES_RULES, VALUES_WARNINGS
from cilium_hybrid.rules.via import pinned_steps_have_digests, the_steps_lead_up


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What is wrong with a spec: `refusals` keep it from the cluster, `warnings` do not."""

    refusals: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()

    def __add__(self, other: "ValidationResult") -> "ValidationResult":
        return ValidationResult(self.refusals + other.refusals, self.warnings + other.warnings)


def the_minor_is_supported(spec: LenientSpec) -> Iterator[Violation]:
    """AWS supports its own builds of these minor releases on hybrid nodes."""
    version = spec.version
    if version is not None and version.series not in MINORS and not spec.allow_unsupported:
        yield Violation(
            Reason.VERSION_UNSUPPORTED,
            "spec.version",
            f"{version} is of {version.series}, and the supported minor releases are {', '.join(MINORS)}",
            "write a version of one of them, or set spec.allowUnsupported to true",
        )


SPEC_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    the_minor_is_supported,
    the_steps_lead_up,
    pinned_steps_have_digests,
    *CIDR_RULES,
    *VALUES_RULES,
    *IMAGE_RULES,
)
SPEC_WARNINGS: Final[tuple[Rule[LenientSpec], ...]] = VALUES_WARNINGS


def validate_spec(raw: object, running: Running | None = None, registries: Sequence[str] = ()) -> ValidationResult:
    """Everything that a spec shows by itself, and against what runs; `registries`: the only ones allowed, if any."""
    spec, running = read_lenient_spec(raw), running or Running()
    refusals = schema_errors(raw) + all_violations(SPEC_RULES, spec) + tuple(_unlisted(spec, registries))
    return ValidationResult(refusals, all_violations(SPEC_WARNINGS, spec)) + validate_change(spec, running)


def validate_change(spec: LenientSpec, running: Running) -> ValidationResult:
    """What a spec breaks of that which runs."""
    overlaps = all_violations(ADDED_CIDR_RULES, spec)
    return of_added(overlaps, spec, running) + ValidationResult(all_violations(CHANGE_RULES, Change(running, spec)))


def of_added(overlaps: Sequence[Violation], spec: LenientSpec, running: Running) -> ValidationResult:
    """What an added pod CIDR overlaps is refused; a pool that runs could not be taken out, so that is only told."""
    run = {cidr.path for cidr in spec.pod_cidrs if cidr.text in running.pod_cidrs}
    return ValidationResult(
        tuple(overlap for overlap in overlaps if overlap.path not in run),
        tuple(overlap for overlap in overlaps if overlap.path in run),
    )


def _unlisted(spec: LenientSpec, registries: Sequence[str]) -> Iterator[Violation]:
    """Whoever may write the resource does not choose where privileged pods come from; whoever runs the operator may."""
    place = spec.chart_ref.removeprefix("oci://")
    if registries and not any(f"{place}/".startswith(f"{allowed.rstrip('/')}/") for allowed in registries):
        yield Violation(
            Reason.CHART_REFUSED,
            "spec.chart.ref",
            f"{spec.chart_ref} lies in none of the registries that the operator allows ({', '.join(registries)})",
            "take a chart from one of them, or have the setting CILIUM_HYBRID_CHART_REGISTRIES changed",
        )
