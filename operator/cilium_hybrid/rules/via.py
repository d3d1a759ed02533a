"""Rules on spec.upgrade.via, the versions that an upgrade passes through."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Violation


def via_is_in_ascending_order(spec: LenientSpec) -> Iterator[Violation]:
    """Each version is newer than the one before, and older than spec.version."""
    versions = [step.version for step in spec.via if step.version is not None]
    if spec.version is not None:
        yield from via_order_violations(versions, spec.version)


def via_has_digests_if_the_chart_has(spec: LenientSpec) -> Iterator[Violation]:
    """With spec.chart.digest, the charts of the other versions must not be trusted without a digest either."""
    for index, step in enumerate(spec.via):
        if spec.pinned and not step.pinned:
            path = f"spec.upgrade.via[{index}]"
            yield Violation(
                Reason.INVALID_SPEC, path, "has no digest, but spec.chart.digest is set", "set the digest of its chart"
            )


def via_order_violations(via: Sequence[CiliumVersion], target: CiliumVersion) -> Iterator[Violation]:
    """Yield the versions of spec.upgrade.via that do not lead to the target."""
    for version, following in pairwise((*via, target)):
        if version.major != target.major:
            yield via_violation(f"{version} has a different major version than spec.version ({target})", "remove it")
        elif version >= target:
            yield via_violation(f"{version} is not older than spec.version ({target})", "remove it")
        elif version >= following:
            yield via_violation(f"{version} is before {following}, but is not older", "list older versions first")


def via_violation(message: str, fix: str) -> Violation:
    """Return a violation of spec.upgrade.via."""
    return Violation(Reason.VERSION_UNSUPPORTED, "spec.upgrade.via", message, fix)
