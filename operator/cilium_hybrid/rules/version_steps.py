"""The rule on changes of the version: which versions can follow the one that runs."""

from collections.abc import Collection

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.rule import Violation


def version_step_violation(
    running: CiliumVersion, target: CiliumVersion, ran: Collection[str] = ()
) -> Violation | None:
    """Return why `target` cannot follow `running`, None if it can; `ran` are the versions that this cluster ran before.

    An upgrade over several minor versions is made of single steps and is allowed.
    Source: Cilium's upgrade guide: only upgrades and rollbacks between consecutive minor versions are tested.
    """
    down = running.minor - target.minor
    before = f"{running.major}.{running.minor - 1}"
    if target.major != running.major:
        reason, fact = Reason.VERSION_UNSUPPORTED, f"cannot change from {running} to another major version"
        fix = f"use {running}"
    elif down > 1:
        reason, fact = Reason.VERSION_SKIPPED, f"cannot downgrade from {running} by more than one minor version"
        fix = f"use {running}, or a {before} version that this cluster ran before"
    elif down == 1 and str(target) not in ran:
        reason, fact = Reason.VERSION_UNSUPPORTED, f"cannot downgrade from {running} to a version that never ran here"
        fix = f"use {running}, or a {before} version that this cluster ran before"
    else:
        return None
    return Violation(reason, "spec.version", f'Invalid value: "{target}": {fact}', fix)
