"""Rules on a spec against the Cilium that already runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.version_steps import version_step_violation


@dataclass(frozen=True, slots=True)
class Running:
    """The Cilium that runs, as far as it is known: chart version, IPAM facts and the `source` of these.

    `pod_cidrs` are in canonical form. `ran` holds the versions that this cluster ran before.
    """

    version: str | None = None
    pod_cidrs: tuple[str, ...] = ()
    mask_size: int | None = None
    source: str = "ConfigMap kube-system/cilium-config"
    ran: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SpecChange:
    """The Cilium that runs, and the new spec."""

    running: Running
    spec: LenientSpec


def pod_cidrs_are_append_only(change: SpecChange) -> Iterator[Violation]:
    """Nodes keep their blocks for life, so a pod CIDR cannot be removed (cilium.io, cluster-pool IPAM)."""
    for index, (cidr, new) in enumerate(zip_longest(change.running.pod_cidrs, change.spec.pod_cidrs)):
        if cidr is not None and (new is None or new.text != cidr):
            becomes = "removed" if new is None else f"replaced by {new}"
            yield Violation(
                Reason.POD_CIDR_REMOVED,
                f"spec.ipam.podCIDRs[{index}]",
                f"{cidr} is in use ({change.running.source}) and cannot be {becomes}",
                f"restore {cidr} here, and append new CIDRs at the end",
            )


def mask_size_is_immutable(change: SpecChange) -> Iterator[Violation]:
    """Blocks of another size would overlap those in use (cilium.io, cluster-pool IPAM)."""
    running, target = change.running.mask_size, change.spec.mask_size
    if running is not None and target is not None and running != target:
        yield Violation(
            Reason.MASK_CHANGED,
            "spec.ipam.maskSize",
            f"Invalid value: {target}: cannot change from {running}, because all node blocks are /{running} "
            f"({change.running.source})",
            f"use {running}",
        )


def version_step_is_supported(change: SpecChange) -> Iterator[Violation]:
    """The version can follow the one that runs; see `version_step_violation`."""
    running, target = change.running.version, change.spec.version
    if running is None or target is None or str(target) == running:
        return
    if (violation := version_step_violation(CiliumVersion.parse(running), target, change.running.ran)) is not None:
        yield violation


CHANGE_RULES: Final[tuple[Rule[SpecChange], ...]] = (
    pod_cidrs_are_append_only,
    mask_size_is_immutable,
    version_step_is_supported,
)
