"""What comes before a change of what runs: a person's approval, and the preflight of another version."""

from dataclasses import dataclass, field
from typing import assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightResult, PreflightStatus
from cilium_hybrid.api.v1alpha1 import APPROVE, Approval, Spec
from cilium_hybrid.plan.actions import Decision, EndPreflight, Nothing, StartPreflight
from cilium_hybrid.plan.observation import PreflightObservation, Revision
from cilium_hybrid.plan.release import DesiredRelease, is_release
from cilium_hybrid.plan.upgrade.path import UpgradePath
from cilium_hybrid.plan.upgrade.preflight import PreflightEvaluation, preflight_values
from cilium_hybrid.rules.text import first_and_count


@dataclass(frozen=True, slots=True)
class Checks:
    """The preflight as far as it is: what the status of this generation says, and what there is to be seen now.

    `taints`: the keys of those that hybrid nodes have.
    """

    told: PreflightStatus | None = None
    seen: PreflightObservation = field(default_factory=PreflightObservation)
    verdict: PreflightEvaluation | None = None
    taints: frozenset[str] = frozenset()


def awaited_approval(spec: Spec, upgrade_path: UpgradePath, approved: str | None) -> Decision | None:
    """Wait until a person approved exactly this plan; `approved` is what the annotation says."""
    if spec.upgrade.approval is Approval.AUTOMATIC or approved == upgrade_path.digest:
        return None
    way = (
        " → ".join([upgrade_path.present.chart_version, *upgrade_path.left])
        if upgrade_path.left
        else "a change of configuration"
    )
    stale = f"{APPROVE}={approved} is of another plan; " if approved else ""
    message = (
        f"{stale}waiting for approval of {way}: run `cilium-hybrid approve`, or annotate "
        f"ciliumhybrid/default with {APPROVE}={upgrade_path.digest}"
    )
    return Decision(Nothing(), Reason.AWAITING_APPROVAL, message)


def awaited_preflight(spec: Spec, desired: DesiredRelease, checks: Checks) -> Decision | None:
    """Run the preflight of what is wanted next, and take it away again; None once it passed, or where it is off.

    What it finds is told before it is taken away: an operator that dies in between does not run it twice.
    """
    if not spec.upgrade.preflight.enabled:
        return None
    told, seen = checks.told, checks.seen
    if told is None or told.version != desired.chart_version:
        return _start(spec, desired, checks)
    match told.result:
        case PreflightResult.RUNNING:
            return _judged(spec, desired, checks)
        case PreflightResult.PASSED:
            return _clear(desired, told) if seen.managed else None
        case PreflightResult.FAILED:
            return _clear(desired, told) if seen.managed else _failed(told)
        case unknown:
            assert_never(unknown)


def told_preflight(decision: Decision, checks: Checks) -> PreflightStatus | None:
    """What the status tells of it: what was told before, but not that it runs where none is there, or stands still."""
    told = checks.told
    if decision.preflight is not None or told is None:
        return decision.preflight
    stays = checks.seen.there and not decision.stalled
    return told if stays or told.result is not PreflightResult.RUNNING else None


def _start(spec: Spec, desired: DesiredRelease, checks: Checks) -> Decision:
    expected = 0 if checks.verdict is None else checks.verdict.expected
    status = PreflightStatus(version=desired.chart_version, result=PreflightResult.RUNNING, expected=expected)
    message = f"starting the preflight of Cilium {desired.chart_version}; nothing is changed before it passed"
    action = StartPreflight(desired, preflight_values(spec, checks.taints))
    return Decision(action, Reason.PREFLIGHT_RUNNING, message, preflight=status)


def _judged(spec: Spec, desired: DesiredRelease, checks: Checks) -> Decision:
    verdict, release = checks.verdict, checks.seen.release
    if verdict is None or release is None or not _is_whole(release, desired):
        # Whoever was to start it was interrupted: what is left of it, or of one before, is nothing to judge by.
        return _start(spec, desired, checks)
    status = PreflightStatus(
        version=desired.chart_version,
        result=verdict.result,
        ready=verdict.ready,
        expected=verdict.expected,
        findings=verdict.findings,
    )
    if verdict.result is not PreflightResult.RUNNING:
        return _clear(desired, status)
    found = f"; {first_and_count(verdict.findings)}" if verdict.findings else ""
    message = f"preflight of Cilium {desired.chart_version}: {verdict.ready} of {verdict.expected} nodes passed{found}"
    return Decision(Nothing(), Reason.PREFLIGHT_RUNNING, message, preflight=status)


def _is_whole(release: Revision, desired: DesiredRelease) -> bool:
    return release.status == "deployed" and is_release(release, desired)


def _clear(desired: DesiredRelease, status: PreflightStatus) -> Decision:
    if status.result is PreflightResult.FAILED:
        return _failed(status, EndPreflight())
    message = f"the preflight of Cilium {desired.chart_version} passed on {status.ready} of {status.expected} nodes"
    return Decision(EndPreflight(), Reason.PREFLIGHT_RUNNING, message, preflight=status)


def _failed(status: PreflightStatus, action: EndPreflight | Nothing | None = None) -> Decision:
    found = first_and_count(status.findings or ("it was not ready in time",))
    message = (
        f"the preflight of Cilium {status.version} failed: {found}; nothing was upgraded, and it is not tried again: "
        "mend the cause and change the spec, or set spec.upgrade.preflight.enabled to false"
    )
    return Decision(action or Nothing(), Reason.PREFLIGHT_FAILED, message, stalled=True, preflight=status)
