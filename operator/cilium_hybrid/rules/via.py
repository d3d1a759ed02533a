"""Rules on the versions that a spec names on the way to its own."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Violation


def the_steps_lead_up(spec: LenientSpec) -> Iterator[Violation]:
    """Each version is newer than the one before it, and older than the one that they lead to."""
    versions = [step.version for step in spec.via if step.version is not None]
    if spec.version is not None:
        yield from misplaced(versions, spec.version)


def pinned_steps_have_digests(spec: LenientSpec) -> Iterator[Violation]:
    """A spec that names its chart by a digest trusts no other chart of the registry either."""
    for index, step in enumerate(spec.via):
        if spec.pinned and not step.pinned:
            path = f"spec.upgrade.via[{index}]"
            message = "names no digest, and spec.chart.digest holds every chart to one"
            yield Violation(Reason.INVALID_SPEC, path, message, "write the digest of its chart")


def misplaced(via: Sequence[CiliumVersion], wanted: CiliumVersion) -> Iterator[Violation]:
    """Versions that lead from nowhere to the wanted one."""
    for step, after in pairwise((*via, wanted)):
        if step.major != wanted.major:
            yield of_via(f"{step} is of another major release than {wanted}", "take it out")
        elif step >= wanted:
            yield of_via(f"{step} is not older than spec.version, which is {wanted}", "take it out")
        elif step >= after:
            yield of_via(f"{step} stands before {after}, which is not newer", "write the older version first")


def of_via(message: str, fix: str) -> Violation:
    """A fault of the versions on the way."""
    return Violation(Reason.VERSION_UNSUPPORTED, "spec.upgrade.via", message, fix)
