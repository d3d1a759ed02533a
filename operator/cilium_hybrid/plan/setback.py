"""The way back, where new agents failed: to the last revision that all agents ran well on, and no second try."""

from dataclasses import dataclass, replace
from typing import assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import Claim, Decision, Move, Nothing, Remember, Rollback, Unlock
from cilium_hybrid.plan.observation import Observation, Record, Rejected, Revision
from cilium_hybrid.plan.release import APPLIED, Wanted, released_digest, wish
from cilium_hybrid.plan.rollout import RolloutPlan, Step, proven


@dataclass(frozen=True, slots=True)
class Setback:
    """What was rejected, and what to go back to; `well`: every connected node runs what is released, and well."""

    record: Record
    rejected: Rejected
    good: Revision
    well: bool


def setback_of(observation: Observation, want: Wanted, generation: int) -> Setback | None:
    """The setback of this very wish: of the same generation, and asking for the same; None where it had none."""
    record, good = observation.record, good_revision(observation)
    if record is None or record.rejected is None or good is None or not observation.installed:
        return None
    if (record.rejected.generation, record.rejected.wanted) != (generation, wish(want)):
        return None
    return Setback(record, record.rejected, good, proven(observation, released_digest(observation)))


def good_revision(observation: Observation) -> Revision | None:
    """The last revision that all agents ran well on, where Helm still has it."""
    good = None if observation.record is None else observation.record.good
    return next((r for r in observation.revisions if r.number == good and r.status in APPLIED), None)


def go_back(setback: Setback, newest: Revision, back: RolloutPlan) -> Decision:
    """The next step of the way back. `back` moves the agents that had been moved to what is released now."""
    message, good = setback.rejected.message, setback.good
    if newest.status.startswith("pending"):
        return Decision(Unlock(newest.number), Reason.ROLLING_BACK, f"{message}: unlocking revision {newest.number}")
    if newest.number <= setback.rejected.revision or newest.status != "deployed":
        action = Rollback(good.number, newest.number + 1)
        return Decision(action, Reason.ROLLING_BACK, f"{message}: going back to revision {good.number}")
    if not newest.ours:
        return claimed(setback.record, newest) or left_alone(newest)
    match back.step:
        case Step.MOVE:
            return Decision(Move(back.pods), Reason.ROLLING_BACK, f"{message}: {back.message}")
        case Step.WAIT | Step.STUCK | Step.FAILED:
            return Decision(Nothing(), Reason.ROLLING_BACK, f"{message}: {back.message}")
        case Step.DONE:
            return _back(setback, newest)
        case unknown:
            assert_never(unknown)


def claimed(record: Record | None, newest: Revision) -> Decision | None:
    """Label what the operator went back to as its own, also where the spec asks for something else meanwhile."""
    if record is None or record.rejected is None or newest.status != "deployed":
        return None
    if newest.number <= record.rejected.revision or newest.copies != record.good:
        return None
    message = f"{record.rejected.message}: went back to revision {record.good}"
    return Decision(Claim(newest.number), Reason.ROLLING_BACK, message)


def _back(setback: Setback, newest: Revision) -> Decision:
    record, message = setback.record, setback.rejected.message
    if setback.well and record.good != newest.number:
        return Decision(Remember(replace(record, good=newest.number)), Reason.ROLLED_BACK, message)
    way_out = f"revision {newest.number} restored what ran before, and this is not tried again: change the spec"
    return Decision(Nothing(), Reason.ROLLED_BACK, f"{message}; {way_out}", stalled=True)


def left_alone(newest: Revision) -> Decision:
    """A revision that somebody else made of the operator's release is never fought."""
    return Decision(
        Nothing(),
        Reason.FOREIGN_REVISION,
        f"revision {newest.number} of Helm release cilium was not made by this operator and is left alone, "
        "until the spec asks for something else than it did before",
        stalled=True,
    )
