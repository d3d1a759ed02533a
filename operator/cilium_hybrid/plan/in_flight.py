"""What is in flight is finished first, whatever the spec asks for by now: neither a violation nor an edit stops it.

An interrupted Helm is unlocked, restarted agents are judged, repaired or taken back, and the record is kept up to date.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.upgrade import OnFailure
from cilium_hybrid.plan.actions import Decision, MarkRevision, Nothing, RestartAgents, Rollback, Unlock, WriteRecord
from cilium_hybrid.plan.classify import ReleaseClass
from cilium_hybrid.plan.inputs import Evaluation, SpecEvaluation
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.record import Record, Rejected, RestartedNode, RolloutRecord
from cilium_hybrid.plan.recording import is_recorded, present_record
from cilium_hybrid.plan.release import DesiredRelease, is_release, release_digest
from cilium_hybrid.plan.rollout.plan import RolloutStep
from cilium_hybrid.plan.rollout.rollback import WayBack, find_way_back
from cilium_hybrid.plan.running import running
from cilium_hybrid.rules.text import list_names

LOCKED_AFTER: Final = 600.0
"""Seconds without change after which an operation of Helm that the operator did not start counts as interrupted."""


def decide_in_flight(evaluation: Evaluation) -> Decision | None:
    """Return the next action for what is in flight; None if there is nothing to do for it now."""
    newest = evaluation.observation.newest
    if newest is None or evaluation.release.absent:
        return None
    if evaluation.release is ReleaseClass.OURS_PENDING:
        return _unlock(evaluation, newest)
    if evaluation.release is ReleaseClass.OURS_UNINSTALLING:
        return _unlock_uninstall(evaluation, newest)
    if evaluation.release is ReleaseClass.OURS_FAILED:
        return _go_back(evaluation, newest)
    if evaluation.release is ReleaseClass.OURS_DEPLOYED:
        for stage in (_mark_rejected, _go_back, _reject, _verify, _restart, _record, _wait_on_the_way_back):
            if (decision := stage(evaluation, newest)) is not None:
                return decision
    return None


def way_back(evaluation: Evaluation) -> WayBack:
    """Return the way back from the rejected revision, or why there is none."""
    rejected = evaluation.record.rejected
    if rejected is None:
        return WayBack(None, "no revision is rejected")
    if evaluation.upgrade.on_failure is OnFailure.PAUSE:
        return WayBack(None, "spec.upgrade.onFailure is Pause")
    return find_way_back(evaluation.observation, evaluation.record, rejected)


def is_on_the_way_back(evaluation: Evaluation, newest: Revision) -> bool:
    """Whether the newest revision restores an earlier one, after a rejected revision that is still remembered."""
    rejected = evaluation.record.rejected
    return rejected is not None and newest.rolled_back_to is not None and newest.number > rejected.revision


def was_unlocked(record: Record, newest: Revision) -> bool:
    """Whether the revision was marked failed before: if it is deployed now, Helm may have applied a part of it only."""
    return record.unlocked == newest.number


def known_releases(evaluation: Evaluation) -> tuple[DesiredRelease, ...]:
    """Return the releases that the spec asks for now, one after the other; none if it cannot be read."""
    if not isinstance(evaluation, SpecEvaluation):
        return ()
    path = evaluation.upgrade_path
    return path.current, path.next, path.target


def _unlock(evaluation: Evaluation, newest: Revision) -> Decision:
    interrupted = f"Helm was interrupted at revision {newest.number} ({newest.status})"
    if evaluation.input.newest_unchanged_for < evaluation.input.unlock_after:
        message = f"revision {newest.number} of Helm release cilium is {newest.status}; waiting for Helm to finish"
        return Decision(Nothing(), Reason.RELEASE_LOCKED, message)
    action = Unlock(newest.number, replace(evaluation.record, unlocked=newest.number))
    return Decision(action, Reason.RELEASE_LOCKED, f"{interrupted}; marking it failed to unlock the release")


def _unlock_uninstall(evaluation: Evaluation, newest: Revision) -> Decision:
    """An admin may be uninstalling the release; if that was interrupted, it is applied again."""
    if evaluation.input.newest_unchanged_for < LOCKED_AFTER:
        message = f"Helm release cilium (revision {newest.number}) is being uninstalled; waiting for Helm to finish"
        return Decision(Nothing(), Reason.RELEASE_LOCKED, message)
    action = Unlock(newest.number, replace(evaluation.record, unlocked=newest.number))
    message = f"an uninstall of Helm release cilium was interrupted; marking revision {newest.number} failed"
    return Decision(action, Reason.RELEASE_LOCKED, f"{message} to apply it again")


def _go_back(evaluation: Evaluation, newest: Revision) -> Decision | None:
    """Restore the last verified revision after a rejected one, again if that failed."""
    record, rejected = evaluation.record, evaluation.record.rejected
    if rejected is None or newest.number < rejected.revision:
        return None
    restoring = is_on_the_way_back(evaluation, newest)
    if newest.number > rejected.revision and not restoring:
        return None
    if restoring and newest.status == "deployed" and not was_unlocked(record, newest):
        return None
    target = way_back(evaluation).target
    if target is None:
        return None
    runs, observation = running(evaluation.observation), evaluation.observation
    pools, mask = runs.pod_cidrs or record.pod_cidrs, runs.mask_size or record.mask_size
    deployed = next((r.number for r in reversed(observation.revisions) if r.status == "deployed"), None)
    action = Rollback(
        target,
        newest.number + 1,
        pools,
        mask,
        replace(record, pod_cidrs=pools, mask_size=mask, rollout=evaluation.rollout.record),
        replaces=deployed,
    )
    message = f"{rejected.message}; rolling back to revision {target.number} (Cilium {target.chart_version})"
    return Decision(action, Reason.ROLLING_BACK, message)


def _reject(evaluation: Evaluation, newest: Revision) -> Decision | None:
    """Record the evidence before anything is undone, so that an interrupted operator does not retry."""
    plan, record = evaluation.rollout, evaluation.record
    known = record.rejected is not None and record.rejected.revision == newest.number
    if plan.step is not RolloutStep.FAILED or known:
        return None
    rejected = Rejected(newest.number, _digest_of(evaluation, newest), plan.message)
    updated = replace(_present(evaluation), rejected=rejected)
    target = way_back(replace(evaluation, record=updated)).target
    action = MarkRevision(newest.number, "rejected", updated, plan.failed)
    if target is None:
        return Decision(action, Reason.ROLLOUT_STALLED, f"{plan.message}; rejecting revision {newest.number}")
    return Decision(action, Reason.ROLLING_BACK, f"{plan.message}; rolling back to revision {target.number}")


def _mark_rejected(evaluation: Evaluation, newest: Revision) -> Decision | None:
    """Label the rejected revision as the record says, if the operator was interrupted before it did.

    The label is what is left if the record is lost.
    """
    rejected, revisions = evaluation.record.rejected, evaluation.observation.revisions
    found = None if rejected is None else next((r for r in revisions if r.number == rejected.revision), None)
    if rejected is None or found is None or not found.managed or found.rejected:
        return None
    message = f"{rejected.message}; marking revision {found.number} as rejected"
    return Decision(MarkRevision(found.number, "rejected", evaluation.record), _reason(evaluation, newest), message)


def _digest_of(evaluation: Evaluation, newest: Revision) -> str:
    """Return the release digest of the newest revision; one that lacks the label is compared with the spec."""
    if newest.spec_digest:
        return newest.spec_digest
    desired = next((desired for desired in known_releases(evaluation) if is_release(newest, desired)), None)
    return "" if desired is None else release_digest(desired)


def _verify(evaluation: Evaluation, newest: Revision) -> Decision | None:
    record, rejected = evaluation.record, evaluation.record.rejected
    known = record.verified == newest.number and newest.verified and not record.rebuilt
    if not evaluation.rollout.verified or known or (rejected is not None and rejected.revision == newest.number):
        return None
    if rejected is not None and isinstance(evaluation, SpecEvaluation) and not evaluation.upgrade_path.needs_versions:
        asked = {release_digest(desired) for desired in known_releases(evaluation)}
        rejected = rejected if rejected.release_digest in asked else None
    updated = replace(
        _present(evaluation),
        verified=newest.number,
        verified_version=newest.chart_version,
        rejected=rejected,
        rebuilt=False,
        suspects_due=False,
        rollout=None,
    )
    message = f"revision {newest.number} (Cilium {newest.chart_version}) runs on every connected node; recording it"
    # Nodes that are away and return later are not judged, so what is verified must not rest on a lost canary.
    canaries = _watched(evaluation.rollout.record, lambda node: node.canary)
    action = MarkRevision(newest.number, "verified", updated, canaries=canaries)
    return Decision(action, _reason(evaluation, newest), _once_reported(message, canaries))


def _restart(evaluation: Evaluation, newest: Revision) -> Decision | None:
    plan = evaluation.rollout
    if plan.step is not RolloutStep.RESTART:
        return None
    groups = () if plan.record is None else plan.record.open_groups
    # Casualties were tried before any canary.
    canaries = _watched(plan.record, lambda node: node.canary or node.group not in groups)
    message = _once_reported(_message(evaluation, newest), canaries)
    action = RestartAgents(plan.pods, _present(evaluation), plan.first, canaries)
    return Decision(action, _reason(evaluation, newest), message)


def _once_reported(message: str, canaries: Sequence[tuple[str, str]]) -> str:
    if not canaries:
        return message
    return f"{message} once every canary has renewed its Lease ({list_names([name for name, _ in canaries])})"


def _watched(rollout: RolloutRecord | None, chosen: Callable[[RestartedNode], bool]) -> tuple[tuple[str, str], ...]:
    """Return the nodes of a kind whose soak time ended a moment ago, with the UIDs of their new pods."""
    nodes = {} if rollout is None else rollout.watched
    return tuple(sorted((name, node.new_pod_uid) for name, node in nodes.items() if chosen(node)))


def _record(evaluation: Evaluation, newest: Revision) -> Decision | None:
    updated = _present(evaluation)
    progressing = evaluation.rollout.step in {RolloutStep.RESTART, RolloutStep.WAIT}
    if is_recorded(evaluation.observation, updated, progressing=progressing):
        return None
    message = f"recording revision {newest.number}"
    if evaluation.rollout.message:
        message = _message(evaluation, newest)
    return Decision(WriteRecord(updated), _reason(evaluation, newest), message)


def _wait_on_the_way_back(evaluation: Evaluation, newest: Revision) -> Decision | None:
    """Agents that return to the earlier release are waited for before anything new is tried."""
    if evaluation.rollout.step is RolloutStep.WAIT and is_on_the_way_back(evaluation, newest):
        return Decision(Nothing(), Reason.ROLLING_BACK, _message(evaluation, newest))
    return None


def _present(evaluation: Evaluation) -> Record:
    return present_record(
        evaluation.observation, evaluation.record, evaluation.rollout.record, known_releases(evaluation)
    )


def _reason(evaluation: Evaluation, newest: Revision) -> Reason:
    return Reason.ROLLING_BACK if is_on_the_way_back(evaluation, newest) else Reason.ROLLING_OUT


def _message(evaluation: Evaluation, newest: Revision) -> str:
    rejected = evaluation.record.rejected
    if rejected is not None and is_on_the_way_back(evaluation, newest):
        return f"{rejected.message}; {evaluation.rollout.message}"
    return evaluation.rollout.message
