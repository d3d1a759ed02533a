"""The rules on a spec alone, and the validation that the operator and the command line share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.change import CHANGE_RULES, Running, SpecChange
from cilium_hybrid.rules.cidrs import ADDED_CIDR_RULES, CIDR_RULES
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.pull_secrets import PULL_SECRET_RULES
from cilium_hybrid.rules.rule import Rule, Violation, all_violations
from cilium_hybrid.rules.schema_errors import schema_errors
from cilium_hybrid.rules.supported_minors import minor_of, supported_minors
from cilium_hybrid.rules.values import VALUES_RULES, VALUES_WARNINGS
from cilium_hybrid.rules.via import via_has_digests_if_the_chart_has, via_is_in_ascending_order


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The violations of a spec: a spec with `refusals` is not applied, one with only `warnings` is."""

    refusals: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()

    def __add__(self, other: "ValidationResult") -> "ValidationResult":
        return ValidationResult(self.refusals + other.refusals, self.warnings + other.warnings)


def minor_is_supported(spec: LenientSpec) -> Iterator[Violation]:
    """AWS supports builds of some minor versions on hybrid nodes."""
    version = spec.version
    if version is not None and not minor_of(version).supported and not spec.allow_unsupported:
        yield Violation(
            Reason.VERSION_UNSUPPORTED,
            "spec.version",
            f'Unsupported value: "{version}": supported minor versions: {", ".join(map(str, supported_minors()))}',
            "use one of these, or set spec.allowUnsupported to true",
        )


def api_server_has_a_name(spec: LenientSpec) -> Iterator[Violation]:
    """EKS replaces the network interfaces of its endpoint, and their addresses with them; this is a warning."""
    if _is_ipv4_address(spec.api_server_host):
        yield Violation(
            Reason.INVALID_SPEC,
            "spec.apiServer.host",
            f"{spec.api_server_host} is an IP address, and those of an EKS endpoint change",
            "use the host name of the endpoint",
        )


SPEC_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    minor_is_supported,
    via_is_in_ascending_order,
    via_has_digests_if_the_chart_has,
    *CIDR_RULES,
    *VALUES_RULES,
    *PULL_SECRET_RULES,
)
SPEC_WARNINGS: Final[tuple[Rule[LenientSpec], ...]] = (api_server_has_a_name, *VALUES_WARNINGS)


def validate_spec(
    raw: object, spec: LenientSpec, running: Running | None = None, registries: Sequence[str] = ()
) -> ValidationResult:
    """Validate a spec, of which `raw` is the JSON, alone and against the Cilium that runs.

    `registries` are the registries that charts may come from; any if empty.
    """
    running = running or Running()
    refusals = schema_errors(raw) + all_violations(SPEC_RULES, spec) + tuple(_registry_violations(spec, registries))
    return ValidationResult(refusals, all_violations(SPEC_WARNINGS, spec)) + validate_change(spec, running)


def validate_change(spec: LenientSpec, running: Running) -> ValidationResult:
    """Validate a spec against the Cilium that runs."""
    overlaps = all_violations(ADDED_CIDR_RULES, spec)
    return refuse_only_added_cidrs(overlaps, spec, running) + ValidationResult(
        all_violations(CHANGE_RULES, SpecChange(running, spec))
    )


def refuse_only_added_cidrs(overlaps: Sequence[Violation], spec: LenientSpec, running: Running) -> ValidationResult:
    """Turn violations of pod CIDRs that already run into warnings, because these CIDRs cannot be removed."""
    running_paths = {cidr.path for cidr in spec.pod_cidrs if cidr.text in running.pod_cidrs}
    return ValidationResult(
        tuple(overlap for overlap in overlaps if overlap.path not in running_paths),
        tuple(overlap for overlap in overlaps if overlap.path in running_paths),
    )


def _is_ipv4_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _registry_violations(spec: LenientSpec, registries: Sequence[str]) -> Iterator[Violation]:
    """Who may write the resource must not choose any source of privileged pods; who runs the operator limits it."""
    chart = spec.chart_ref.removeprefix("oci://")
    if registries and not any(f"{chart}/".startswith(f"{allowed.rstrip('/')}/") for allowed in registries):
        yield Violation(
            Reason.CHART_REFUSED,
            "spec.chart.ref",
            f"{spec.chart_ref} is not in an allowed registry ({', '.join(registries)})",
            "use a chart from one of them, or change the operator's CILIUM_HYBRID_CHART_REGISTRIES",
        )
