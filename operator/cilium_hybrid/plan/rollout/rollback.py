"""The rollback after new agents failed: to the last verified revision, with no second attempt."""

from dataclasses import dataclass, replace
from typing import assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import Decision, LabelRollback, Nothing, RestartAgents, Rollback, Unlock, WriteRecord
from cilium_hybrid.plan.observation import Observation, Record, Rejected, Revision
from cilium_hybrid.plan.release import APPLIED, DesiredRelease, released_digest, spec_digest
from cilium_hybrid.plan.rollout.rollout import RolloutPlan, RolloutStep, is_verified


@dataclass(frozen=True, slots=True)
class RollbackState:
    """The rejected revision and the verified one to restore.

    `healthy`: every connected node runs the released configuration and its agent is Ready.
    """

    record: Record
    rejected: Rejected
    verified: Revision
    healthy: bool


def rollback_state_of(observation: Observation, desired: DesiredRelease, generation: int) -> RollbackState | None:
    """Return the rollback of this generation and this desired release, None if none was started."""
    record, verified = observation.record, verified_revision(observation)
    if record is None or record.rejected is None or verified is None or not observation.installed:
        return None
    if (record.rejected.generation, record.rejected.spec_digest) != (generation, spec_digest(desired)):
        return None
    return RollbackState(record, record.rejected, verified, is_verified(observation, released_digest(observation)))


def verified_revision(observation: Observation) -> Revision | None:
    """Return the last verified revision, None if Helm does not have it any more."""
    verified = None if observation.record is None else observation.record.verified
    return next((r for r in observation.revisions if r.number == verified and r.status in APPLIED), None)


def roll_back(state: RollbackState, newest: Revision, agents: RolloutPlan) -> Decision:
    """Return the next step of the rollback; `agents` is the rollout that restarts the agents with what is released."""
    message, verified = state.rejected.message, state.verified
    if newest.status.startswith("pending"):
        return Decision(Unlock(newest.number), Reason.ROLLING_BACK, f"{message}; unlocking revision {newest.number}")
    if newest.number <= state.rejected.revision or newest.status != "deployed":
        action = Rollback(verified.number, newest.number + 1)
        return Decision(action, Reason.ROLLING_BACK, f"{message}; rolling back to revision {verified.number}")
    if not newest.managed:
        return label_rollback(state.record, newest) or foreign_revision(newest)
    match agents.step:
        case RolloutStep.RESTART:
            return Decision(RestartAgents(agents.pods), Reason.ROLLING_BACK, f"{message}; {agents.message}")
        case RolloutStep.WAIT | RolloutStep.STALLED | RolloutStep.FAILED:
            return Decision(Nothing(), Reason.ROLLING_BACK, f"{message}; {agents.message}")
        case RolloutStep.DONE:
            return _rolled_back(state, newest)
        case unknown:
            assert_never(unknown)


def label_rollback(record: Record | None, newest: Revision) -> Decision | None:
    """Label the revision that the rollback made as the operator's, even if the spec has changed since.

    None if the newest revision was not made by the rollback.
    """
    if record is None or record.rejected is None or newest.status != "deployed":
        return None
    if newest.number <= record.rejected.revision or newest.rolled_back_to != record.verified:
        return None
    message = f"{record.rejected.message}; rolled back to revision {record.verified}"
    return Decision(LabelRollback(newest.number), Reason.ROLLING_BACK, message)


def _rolled_back(state: RollbackState, newest: Revision) -> Decision:
    record, message = state.record, state.rejected.message
    if state.healthy and record.verified != newest.number:
        return Decision(WriteRecord(replace(record, verified=newest.number)), Reason.ROLLED_BACK, message)
    message += (
        f"; revision {newest.number} restored the previous release, and the change is not retried; change the spec"
    )
    return Decision(Nothing(), Reason.ROLLED_BACK, message, stalled=True)


def foreign_revision(newest: Revision) -> Decision:
    """Leave a revision alone that someone else made of the operator's release."""
    return Decision(
        Nothing(),
        Reason.FOREIGN_REVISION,
        f"revision {newest.number} of Helm release cilium was not created by this operator and is not changed; "
        "to replace it, change the spec",
        stalled=True,
    )
