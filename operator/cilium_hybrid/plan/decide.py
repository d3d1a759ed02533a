"""The choice of the next action, in the order of its stages. It is pure and total: every state has an answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import RECONCILE, DeletionPolicy
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    Decision,
    EndPreflight,
    ListVersions,
    MarkRevision,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    StartPreflight,
    WriteRecord,
)
from cilium_hybrid.plan.classify import ReleaseClass, unreadable_revision
from cilium_hybrid.plan.in_flight import LOCKED_AFTER, decide_in_flight
from cilium_hybrid.plan.inputs import Evaluation, Failure, SpecEvaluation
from cilium_hybrid.plan.new_work import decide_new_work
from cilium_hybrid.plan.recording import retried
from cilium_hybrid.plan.release import release_digest
from cilium_hybrid.rules.rule import Violation, first_violation_and_count
from cilium_hybrid.rules.text import list_names

_FOREIGN_SETTLED: Final = frozenset({ReleaseClass.FOREIGN_DEPLOYED, ReleaseClass.FOREIGN_FAILED})
_NOT_PARSED: Final = Violation(Reason.INVALID_SPEC, "spec", "cannot be parsed", "correct it")


def decide(evaluation: Evaluation) -> Decision:
    """Return one action; its effect is observed before the next one is chosen."""
    return _end_leftover_preflight(evaluation, _choose(evaluation))


def attempt(evaluation: Evaluation, decision: Decision, failure: Failure | None) -> Decision:
    """Return the decision, or to wait if its action has failed before: `failure` is the last one, of the same input."""
    if failure is None or isinstance(decision.action, Nothing):
        return decision
    if failure.is_backing_off(evaluation.now) and evaluation.input.resource.deleting:
        return Decision(Nothing(), Reason.DELETION_BLOCKED, failure.with_next_attempt())
    if failure.is_backing_off(evaluation.now):
        return Decision(Nothing(), failure.reason, failure.with_next_attempt(), preflight=decision.preflight)
    if failure.not_before is None and isinstance(decision.action, Apply | StartPreflight):
        # The preflight check cannot start either, so a leftover of an earlier one must not wait for it.
        stalled = Decision(Nothing(), failure.reason, failure.message, stalled=True)
        return _end_leftover_preflight(evaluation, stalled)
    return decision


def failure_key(evaluation: Evaluation, action: Action) -> object:
    """Return the input by which a failure of the action is known: the same input fails in the same way.

    It holds no generation, but the handled value of the reconcile annotation: a new value means another attempt.
    """
    kind, handled = type(action).__name__, evaluation.record.handled
    match action:
        case Apply(desired_release=desired):
            return kind, handled, release_digest(desired), desired.values_digest
        case StartPreflight(desired_release=desired):
            return kind, handled, release_digest(desired)
        case ListVersions(chart_ref=ref):
            return kind, handled, ref
        case Rollback(target=target):
            return kind, handled, target.number
        case _:
            return kind, handled


def refuse(violations: Sequence[Violation]) -> Decision:
    """Change nothing, and report what is wrong with the spec."""
    return Decision(
        Nothing(),
        violations[0].reason,
        first_violation_and_count(violations),
        stalled=True,
        violations=tuple(violations),
    )


def _choose(evaluation: Evaluation) -> Decision:
    for stage in (_suspended, _finalizer, _lost_watch, _requested, _not_ours, decide_in_flight, _refused):
        if (decision := stage(evaluation)) is not None:
            return decision
    return decide_new_work(evaluation) if isinstance(evaluation, SpecEvaluation) else refuse((_NOT_PARSED,))


def _suspended(evaluation: Evaluation) -> Decision | None:
    if evaluation.input.resource.spec.get("suspend") is not True:
        return None
    message = "spec.suspend is true; the operator changes nothing until it is false"
    return Decision(Nothing(), Reason.SUSPENDED, message, violations=evaluation.violations)


def _finalizer(evaluation: Evaluation) -> Decision | None:
    """Keep the finalizer only if the deletion has work to do: a resource without one can never hang."""
    if not isinstance(evaluation, SpecEvaluation):
        return None
    policy, present = evaluation.spec.deletion_policy, evaluation.input.resource.has_finalizer
    if present == (policy is DeletionPolicy.UNINSTALL):
        return None
    because = f"because spec.deletionPolicy is {policy}"
    if present:
        return Decision(RemoveFinalizer(), Reason.ACCEPTED, f"removing the finalizer {because}")
    return Decision(AddFinalizer(), Reason.ACCEPTED, f"adding the finalizer {because}")


def _lost_watch(evaluation: Evaluation) -> Decision | None:
    """Change nothing while a part of the cluster may have changed unseen."""
    lost = evaluation.observation.lost_watches
    if not lost:
        return None
    if evaluation.violations:
        return refuse(evaluation.violations)
    message = f"nothing is changed until every watch is restored: {list_names(lost, separator='; ')}"
    return Decision(Nothing(), Reason.API_UNAVAILABLE, message)


def _requested(evaluation: Evaluation) -> Decision | None:
    """Act once on each value of the reconcile annotation: retry what failed, and resume from a foreign revision."""
    record, newest = evaluation.record, evaluation.observation.newest
    value, release = evaluation.input.resource.requested, evaluation.release
    if not value or value == record.handled or (release.foreign and release.in_progress):
        return None
    updated = retried(record, value)
    if newest is not None and release in _FOREIGN_SETTLED:
        updated = replace(updated, resumed=newest.number)
    message = f"annotation {RECONCILE}={value} is handled: what failed before is tried again"
    return Decision(WriteRecord(updated), Reason.ACCEPTED, message)


def _not_ours(evaluation: Evaluation) -> Decision | None:
    """Leave a revision alone that the operator did not make, or cannot read."""
    newest, release = evaluation.observation.newest, evaluation.release
    if newest is None:
        return None
    resumed = release in _FOREIGN_SETTLED and evaluation.record.resumed == newest.number
    unreadable = unreadable_revision(evaluation.observation)
    if release is ReleaseClass.UNREADABLE or (resumed and unreadable is not None):
        message = (
            f"Secret kube-system/sh.helm.release.v1.cilium.v{unreadable} cannot be "
            "decoded, so Helm cannot change "
            "release cilium; restore the Secret, or delete it if an earlier revision runs"
        )
        return Decision(Nothing(), Reason.RELEASE_LOCKED, message, stalled=True)
    if release is ReleaseClass.NOT_OWNED:
        message = (
            f"Helm release cilium in kube-system (revision {newest.number}, {newest.status}) was not created by this "
            "operator and is not changed; uninstall it, or delete this CiliumHybrid"
        )
        return Decision(Nothing(), Reason.RELEASE_NOT_OWNED, message, stalled=True)
    if not release.foreign or resumed:
        return None
    return _foreign(evaluation)


def _foreign(evaluation: Evaluation) -> Decision:
    """Report a revision of something else; one in progress is waited for, and never unlocked."""
    revisions, newest = evaluation.observation.revisions, evaluation.observation.revisions[-1]
    by = f" by {newest.manager}" if newest.manager else ""
    if evaluation.release in _FOREIGN_SETTLED:
        message = (
            f"revision {newest.number} of Helm release cilium was made{by}, not by this operator, and is not changed; "
            f"to let the operator replace it, set annotation {RECONCILE} to a new value"
        )
        return Decision(Nothing(), Reason.FOREIGN_REVISION, message, stalled=True)
    locked = f"revision {newest.number} of Helm release cilium, made{by or ' by something else'}, is {newest.status}"
    if evaluation.input.newest_unchanged_for >= LOCKED_AFTER:
        way_out = "uninstall" if evaluation.release is ReleaseClass.FOREIGN_UNINSTALLING else "rollback"
        message = (
            f"{locked} and has not changed for 10 minutes; if no Helm runs any more, unlock it with `helm {way_out}"
        )
        return Decision(Nothing(), Reason.RELEASE_LOCKED, f"{message} cilium -n kube-system`", stalled=True)
    before = next((found for found in reversed(revisions[:-1]) if not found.status.startswith("pending")), None)
    if before is not None and not before.managed:
        # Something else upgrades again and again: one reason for all of its revisions.
        return Decision(Nothing(), Reason.FOREIGN_REVISION, f"{locked}; waiting for Helm to finish", stalled=True)
    return Decision(Nothing(), Reason.RELEASE_LOCKED, f"{locked}; waiting for Helm to finish")


def _refused(evaluation: Evaluation) -> Decision | None:
    return refuse(evaluation.violations) if evaluation.violations else None


def _end_leftover_preflight(evaluation: Evaluation, decision: Decision) -> Decision:
    """Remove a leftover preflight check first if the decision is not about it.

    A rollout and the way back continue beside the check: if each stopped the other, neither would ever end.
    """
    if isinstance(decision.action, MarkRevision | RestartAgents | Rollback | WriteRecord):
        return decision
    kept = decision.preflight is not None or decision.reason is Reason.SUSPENDED or evaluation.observation.lost_watches
    if kept or not isinstance(evaluation, SpecEvaluation) or not evaluation.preflight.observed.managed:
        return decision
    return replace(decision, action=EndPreflight())
