"""Rules that a spec must keep against the Cilium that already runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Rule, Violation


@dataclass(frozen=True, slots=True)
class Running:
    """What runs: chart version and IPAM facts, as far as they can be seen; `source` is where those stand.

    `ran`: the versions that this cluster ran.
    """

    version: str | None = None
    pod_cidrs: tuple[str, ...] = ()
    mask_size: int | None = None
    source: str = "ConfigMap kube-system/cilium-config"
    ran: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """What runs, and what the spec asks for."""

    running: Running
    spec: LenientSpec


def pod_cidrs_only_grow(change: Change) -> Iterator[Violation]:
    """Nodes keep their blocks for life, so a pool is never taken away (cilium.io, cluster-pool IPAM)."""
    for index, (cidr, there) in enumerate(zip_longest(change.running.pod_cidrs, change.spec.pod_cidrs)):
        if cidr is not None and (there is None or there.text != cidr):
            yield Violation(
                Reason.POD_CIDR_REMOVED,
                f"spec.ipam.podCIDRs[{index}]",
                f"{cidr} is in use ({change.running.source}) and {there or 'nothing'} stands in its place",
                f"put {cidr} back, and append new CIDRs at the end",
            )


def the_mask_stays(change: Change) -> Iterator[Violation]:
    """A block cut to another mask would overlap those in use (cilium.io, cluster-pool IPAM)."""
    running, wanted = change.running.mask_size, change.spec.mask_size
    if running is not None and wanted is not None and running != wanted:
        yield Violation(
            Reason.MASK_CHANGED,
            "spec.ipam.maskSize",
            f"cannot change from {running} to {wanted}, because every node's block was cut to /{running} "
            f"({change.running.source})",
            f"write {running}",
        )


def a_version_goes_by_tested_steps(change: Change) -> Iterator[Violation]:
    """Cilium tests upgrade and rollback between consecutive minor releases alone (cilium.io, upgrade guide)."""
    wanted, text = change.spec.version, change.running.version
    if text is None or wanted is None or str(wanted) == text:
        return
    running = CiliumVersion.parse(text)
    down = running.minor - wanted.minor
    if wanted.major != running.major:
        yield _refused(Reason.VERSION_UNSUPPORTED, running, wanted, "no step between major releases is tested")
    elif down > 1:
        one = f"{running.major}.{running.minor - 1}"
        yield _refused(
            Reason.VERSION_SKIPPED, running, wanted, f"at most one minor release down is tested, which is {one}"
        )
    elif down == 1 and str(wanted) not in change.running.ran:
        yield _refused(Reason.VERSION_UNSUPPORTED, running, wanted, f"this cluster never ran {wanted}")


def _refused(reason: Reason, running: CiliumVersion, wanted: CiliumVersion, why: str) -> Violation:
    message = f"cannot go from {running} to {wanted}, because {why}"
    return Violation(reason, "spec.version", message, f"write {running}")


CHANGE_RULES: Final[tuple[Rule[Change], ...]] = (pod_cidrs_only_grow, the_mask_stays, a_version_goes_by_tested_steps)
