"""Rules that a spec must keep against the Cilium that already runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.rules.rule import Rule, Violation


@dataclass(frozen=True, slots=True)
class Running:
    """What runs: chart version and IPAM facts, as far as they can be seen."""

    version: str | None = None
    pod_cidrs: tuple[str, ...] = ()
    mask_size: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What runs, and what the spec asks for."""

    running: Running
    spec: Spec


def pod_cidrs_only_grow(change: Change) -> Iterator[Violation]:
    """Nodes keep their blocks for life, so a pool is never taken away (cilium.io, cluster-pool IPAM)."""
    wanted = change.spec.ipam.pod_cidrs
    for index, cidr in enumerate(change.running.pod_cidrs):
        if index >= len(wanted) or wanted[index] != cidr:
            there = wanted[index] if index < len(wanted) else "nothing"
            yield Violation(
                Reason.POD_CIDR_REMOVED,
                f"spec.ipam.podCIDRs[{index}]",
                f"{cidr} is in use and {there} stands in its place: put {cidr} back, and append new CIDRs at the end",
            )


def the_mask_stays(change: Change) -> Iterator[Violation]:
    """A block cut to another mask would overlap those in use (cilium.io, cluster-pool IPAM)."""
    running, wanted = change.running.mask_size, change.spec.ipam.mask_size
    if running is not None and running != wanted:
        yield Violation(
            Reason.MASK_CHANGED,
            "spec.ipam.maskSize",
            f"cannot change from {running} to {wanted}, because every node's block was cut to /{running}: "
            f"write {running}",
        )


def the_version_stays(change: Change) -> Iterator[Violation]:
    """A change of version needs the pre-flight check, which this operator does not run."""
    running, wanted = change.running.version, change.spec.version
    if running is not None and running != wanted:
        yield Violation(
            Reason.VERSION_UNSUPPORTED,
            "spec.version",
            f"cannot go from {running} to {wanted}, because this version of the operator makes no upgrades: "
            f"write {running}",
        )


CHANGE_RULES: Final[tuple[Rule[Change], ...]] = (pod_cidrs_only_grow, the_mask_stays, the_version_stays)
