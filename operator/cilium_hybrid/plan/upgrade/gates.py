"""The gates before the release is changed: approval by a person, and the preflight check of another version."""

from dataclasses import dataclass, field
from typing import assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightResult, PreflightStatus
from cilium_hybrid.api.upgrade import Approval
from cilium_hybrid.api.v1alpha1 import APPROVE, RECONCILE, Spec
from cilium_hybrid.plan.actions import Decision, EndPreflight, Nothing, StartPreflight
from cilium_hybrid.plan.observation import PreflightObservation, Revision
from cilium_hybrid.plan.release import DesiredRelease, is_release, release_digest
from cilium_hybrid.plan.upgrade.path import UpgradePath
from cilium_hybrid.plan.upgrade.preflight import PreflightEvaluation, preflight_values
from cilium_hybrid.plan.values import digest
from cilium_hybrid.rules.text import first_and_count


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """The state of the preflight check.

    `reported` is what the status says of the same check, `observed` what is in the cluster, `evaluation` the result as
    of now. `taints` are the keys of the hybrid nodes' taints.
    """

    reported: PreflightStatus | None = None
    observed: PreflightObservation = field(default_factory=PreflightObservation)
    evaluation: PreflightEvaluation | None = None
    taints: frozenset[str] = frozenset()

    @property
    def in_progress(self) -> PreflightEvaluation | None:
        """The evaluation if a check is in the cluster, else None."""
        return None if self.observed.release is None else self.evaluation


def require_approval(spec: Spec, path: UpgradePath, approved: str | None) -> Decision | None:
    """Wait until a person approves exactly this plan; `approved` is the value of the annotation."""
    if spec.upgrade.approval is Approval.AUTOMATIC or approved == path.digest:
        return None
    if path.remaining:
        change = f"the upgrade {' → '.join([path.current.chart_version, *path.remaining])}"
    else:
        change = "a configuration change"
    other = f"annotation {APPROVE}={approved} approves another plan; " if approved else ""
    message = (
        f"{other}waiting for approval of {change}; run `cilium-hybrid approve`, or annotate "
        f"ciliumhybrid/default with {APPROVE}={path.digest}"
    )
    return Decision(Nothing(), Reason.AWAITING_APPROVAL, message)


def preflight_digest(spec: Spec, desired: DesiredRelease, handled: str) -> str:
    """Return the digest of what a preflight check is about, by which its result is known.

    A new timeout asks for another check, and so does a new `handled` value of the reconcile annotation.
    """
    return digest([release_digest(desired), spec.upgrade.preflight.timeout, handled])


def require_preflight(spec: Spec, desired: DesiredRelease, check: PreflightCheck, handled: str = "") -> Decision | None:
    """Run the preflight check of the desired release and remove it afterwards; None if it passed or is disabled.

    The result is reported before the check is removed, so that an operator that is interrupted in between does not run
    it twice. `handled` is the last value of the reconcile annotation: a new one means another check.
    """
    if not spec.upgrade.preflight.enabled:
        return None
    reported, observed = check.reported, check.observed
    wanted = preflight_digest(spec, desired, handled)
    if reported is None or (reported.version, reported.digest) != (desired.chart_version, wanted):
        return _start(spec, desired, check, wanted)
    match reported.result:
        case PreflightResult.RUNNING:
            return _evaluate(spec, desired, check, wanted)
        case PreflightResult.PASSED:
            return _end(desired, reported) if observed.managed else None
        case PreflightResult.FAILED:
            return _end(desired, reported) if observed.managed else _failed(reported)
        case unknown:
            assert_never(unknown)


def preflight_status(decision: Decision, check: PreflightCheck) -> PreflightStatus | None:
    """Return the status to report: the one of the decision, else the one reported before.

    A check is not reported as running if it was removed or the upgrade is stalled.
    """
    reported = check.reported
    if decision.preflight is not None or reported is None:
        return decision.preflight
    may_run = check.observed.exists and not decision.stalled
    return reported if may_run or reported.result is not PreflightResult.RUNNING else None


def _start(spec: Spec, desired: DesiredRelease, check: PreflightCheck, wanted: str) -> Decision:
    if check.observed.exists and not check.observed.managed:
        message = (
            "Helm release cilium-preflight in kube-system was not created by this operator and is not replaced; nothing"
            " is upgraded before a preflight check; uninstall it, or set spec.upgrade.preflight.enabled to false"
        )
        return Decision(Nothing(), Reason.PREFLIGHT_FAILED, message, stalled=True)
    expected = 0 if check.evaluation is None else check.evaluation.expected
    status = PreflightStatus(
        version=desired.chart_version, digest=wanted, result=PreflightResult.RUNNING, expected=expected
    )
    version = desired.chart_version
    message = f"starting the preflight check of Cilium {version}; nothing is upgraded before it passes"
    action = StartPreflight(desired, preflight_values(spec, check.taints))
    return Decision(action, Reason.PREFLIGHT_RUNNING, message, preflight=status)


def _evaluate(spec: Spec, desired: DesiredRelease, check: PreflightCheck, wanted: str) -> Decision:
    evaluation, release = check.evaluation, check.observed.release
    if evaluation is None or release is None or not _is_deployed(release, desired):
        # The start was interrupted. What is left of it, or of an earlier check, has no meaningful result.
        return _start(spec, desired, check, wanted)
    status = PreflightStatus(
        version=desired.chart_version,
        digest=wanted,
        result=evaluation.result,
        ready=evaluation.ready,
        expected=evaluation.expected,
        findings=evaluation.findings,
    )
    if evaluation.result is not PreflightResult.RUNNING:
        return _end(desired, status)
    found = f"; {first_and_count(evaluation.findings)}" if evaluation.findings else ""
    passed = f"{evaluation.ready} of {evaluation.expected} nodes passed"
    message = f"preflight check of Cilium {desired.chart_version}: {passed}{found}"
    return Decision(Nothing(), Reason.PREFLIGHT_RUNNING, message, preflight=status)


def _is_deployed(release: Revision, desired: DesiredRelease) -> bool:
    return release.status == "deployed" and is_release(release, desired)


def _end(desired: DesiredRelease, status: PreflightStatus) -> Decision:
    if status.result is PreflightResult.FAILED:
        return _failed(status, EndPreflight())
    passed = f"passed on {status.ready} of {status.expected} nodes"
    message = f"the preflight check of Cilium {desired.chart_version} {passed}"
    return Decision(EndPreflight(), Reason.PREFLIGHT_RUNNING, message, preflight=status)


def _failed(status: PreflightStatus, action: EndPreflight | Nothing | None = None) -> Decision:
    found = first_and_count(status.findings or ("timed out",))
    message = (
        f"the preflight check of Cilium {status.version} failed: {found}; nothing was upgraded and the check is not "
        f"retried; fix the cause, then set annotation {RECONCILE} to a new value"
    )
    return Decision(action or Nothing(), Reason.PREFLIGHT_FAILED, message, stalled=True, preflight=status)
