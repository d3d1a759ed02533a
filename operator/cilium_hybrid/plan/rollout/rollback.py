"""The way back, where new agents failed: to the last revision that all agents ran well on, and no second try."""

from dataclasses import dataclass, replace
from typing import assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import Decision, LabelRollback, Nothing, RestartAgents, Rollback, Unlock, WriteRecord
from cilium_hybrid.plan.observation import Observation, Record, Rejected, Revision
from cilium_hybrid.plan.release import APPLIED, DesiredRelease, released_digest, spec_digest
from cilium_hybrid.plan.rollout.rollout import RolloutPlan, RolloutStep, is_verified


@dataclass(frozen=True, slots=True)
class RollbackState:
    """What was rejected, and what to go back to; `well`: every connected node runs what is released, and well."""

    record: Record
    rejected: Rejected
    verified: Revision
    healthy: bool


def rollback_state_of(observation: Observation, desired: DesiredRelease, generation: int) -> RollbackState | None:
    """The setback of this very wish: of the same generation, and asking for the same; None where it had none."""
    record, verified = observation.record, verified_revision(observation)
    if record is None or record.rejected is None or verified is None or not observation.installed:
        return None
    if (record.rejected.generation, record.rejected.desired_release) != (generation, spec_digest(desired)):
        return None
    return RollbackState(record, record.rejected, verified, is_verified(observation, released_digest(observation)))


def verified_revision(observation: Observation) -> Revision | None:
    """The last revision that all agents ran well on, where Helm still has it."""
    verified = None if observation.record is None else observation.record.verified
    return next((r for r in observation.revisions if r.number == verified and r.status in APPLIED), None)


def roll_back(rollback_state: RollbackState, newest: Revision, back: RolloutPlan) -> Decision:
    """The next step of the way back. `back` moves the agents that had been moved to what is released now."""
    message, verified = rollback_state.rejected.message, rollback_state.verified
    if newest.status.startswith("pending"):
        return Decision(Unlock(newest.number), Reason.ROLLING_BACK, f"{message}: unlocking revision {newest.number}")
    if newest.number <= rollback_state.rejected.revision or newest.status != "deployed":
        action = Rollback(verified.number, newest.number + 1)
        return Decision(action, Reason.ROLLING_BACK, f"{message}: going back to revision {verified.number}")
    if not newest.managed:
        return label_rollback(rollback_state.record, newest) or foreign_revision(newest)
    match back.step:
        case RolloutStep.RESTART:
            return Decision(RestartAgents(back.pods), Reason.ROLLING_BACK, f"{message}: {back.message}")
        case RolloutStep.WAIT | RolloutStep.STALLED | RolloutStep.FAILED:
            return Decision(Nothing(), Reason.ROLLING_BACK, f"{message}: {back.message}")
        case RolloutStep.DONE:
            return _back(rollback_state, newest)
        case unknown:
            assert_never(unknown)


def label_rollback(record: Record | None, newest: Revision) -> Decision | None:
    """Label what the operator went back to as its own, also where the spec asks for something else meanwhile."""
    if record is None or record.rejected is None or newest.status != "deployed":
        return None
    if newest.number <= record.rejected.revision or newest.copies != record.verified:
        return None
    message = f"{record.rejected.message}: went back to revision {record.verified}"
    return Decision(LabelRollback(newest.number), Reason.ROLLING_BACK, message)


def _back(rollback_state: RollbackState, newest: Revision) -> Decision:
    record, message = rollback_state.record, rollback_state.rejected.message
    if rollback_state.healthy and record.verified != newest.number:
        return Decision(WriteRecord(replace(record, verified=newest.number)), Reason.ROLLED_BACK, message)
    way_out = f"revision {newest.number} restored what ran before, and this is not tried again: change the spec"
    return Decision(Nothing(), Reason.ROLLED_BACK, f"{message}; {way_out}", stalled=True)


def foreign_revision(newest: Revision) -> Decision:
    """A revision that somebody else made of the operator's release is never fought."""
    return Decision(
        Nothing(),
        Reason.FOREIGN_REVISION,
        f"revision {newest.number} of Helm release cilium was not made by this operator and is left alone, "
        "until the spec asks for something else than it did before",
        stalled=True,
    )
