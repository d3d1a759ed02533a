"""The versions on the way from the one that runs to the one wanted; rules/change.py judges whether it may be gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.via import misplaced, of_via


@dataclass(frozen=True, slots=True)
class Steps:
    """Versions to release one after the other: the wanted one is the last, and none is left where that one runs."""

    versions: tuple[CiliumVersion, ...]


def find_steps(
    running: CiliumVersion, wanted: CiliumVersion, available: Sequence[CiliumVersion], via: Sequence[CiliumVersion] = ()
) -> Steps | Violation:
    """The steps from `running` to `wanted`: those of `via`, else the newest patches among the `available` versions.

    Down there is but one step, whatever `via` says. Up, what of `via` is no newer than `running` lies behind: so the
    steps that are left, found from any of the steps, are the rest.
    """
    if wanted.major != running.major:
        return _refused(running, wanted, "no step between major releases is tested", f"write {running}")
    if wanted.minor < running.minor - 1:
        one = f"{running.major}.{running.minor - 1}"
        why = f"at most one minor release down is tested, which is {one}"
        return _refused(running, wanted, why, f"write a version of {one}")
    if wanted <= running:
        return Steps(() if wanted == running else (wanted,))
    if via:
        return _by_hand(running, wanted, via)
    return Steps((wanted,)) if wanted.minor == running.minor else _by_patches(running, wanted, available)


def newest_patch(running: CiliumVersion, available: Sequence[CiliumVersion]) -> CiliumVersion | None:
    """The newest version of the running minor release and kind, which may be that itself; None where none is known."""
    newest = _newest(available, running, same_kind=True).get(running.minor)
    return None if newest is None else max(newest, running)


def _by_patches(running: CiliumVersion, wanted: CiliumVersion, available: Sequence[CiliumVersion]) -> Steps | Violation:
    """First the newest patch of the present minor release, then that of each one in between (Cilium's upgrade guide).

    AWS builds and Cilium's own versions are different charts: only those of the wanted kind are steps.
    """
    same, other = _newest(available, wanted, same_kind=True), _newest(available, wanted, same_kind=False)
    patch = same.get(running.minor, running)
    found = [patch] if patch > running else []
    for minor in range(running.minor + 1, wanted.minor):
        if minor not in same:
            series = f"{running.major}.{minor}"
            kind = "X.Y.Z" if wanted.build is None else "X.Y.Z-N"
            only = f" of the form {kind}, only {other[minor]}" if minor in other else ""
            why = f"{series} may not be skipped and the registry has no version of it{only}"
            return _refused(running, wanted, why, f"name a version of {series} in spec.upgrade.via")
        found.append(same[minor])
    return Steps((*found, wanted))


def _newest(versions: Sequence[CiliumVersion], wanted: CiliumVersion, *, same_kind: bool) -> dict[int, CiliumVersion]:
    """The newest version of each minor release, of the wanted one's kind or of the other."""
    fitting = (
        version
        for version in versions
        if version.major == wanted.major and ((version.build is None) == (wanted.build is None)) == same_kind
    )
    return {version.minor: version for version in sorted(fitting)}


def _by_hand(running: CiliumVersion, wanted: CiliumVersion, via: Sequence[CiliumVersion]) -> Steps | Violation:
    for violation in misplaced(via, wanted):
        return violation
    left = [step for step in via if step > running]
    for step, after in pairwise((running, *left, wanted)):
        if after.minor > step.minor + 1:
            series = f"{step.major}.{step.minor + 1}"
            return of_via(f"the step from {step} to {after} skips {series}", f"add a version of {series}")
    return Steps((*left, wanted))


def _refused(running: CiliumVersion, wanted: CiliumVersion, why: str, fix: str) -> Violation:
    message = f"cannot go from {running} to {wanted}, because {why}"
    return Violation(Reason.VERSION_UNSUPPORTED, "spec.version", message, fix)
