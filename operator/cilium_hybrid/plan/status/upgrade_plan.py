"""How far each version of the plan is, as the status shows it."""

from itertools import pairwise
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, PreflightResult, Status
from cilium_hybrid.api.v1alpha1 import RolloutStrategy
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Decision
from cilium_hybrid.plan.inputs import Situation
from cilium_hybrid.plan.release import released_digest
from cilium_hybrid.plan.rollout.rollout import RolloutStep, is_verified
from cilium_hybrid.rules.supported_minors import notes_of

_NOT_ITS_TURN: Final = frozenset(
    {
        Reason.AWAITING_APPROVAL,
        Reason.FOREIGN_REVISION,
        Reason.RELEASE_LOCKED,
        Reason.RELEASE_NOT_OWNED,
        Reason.ROLLED_BACK,
        Reason.ROLLING_BACK,
        Reason.ROLLING_OUT,
        Reason.ROLLOUT_STALLED,
        Reason.SUSPENDED,
    }
)


def plan_steps(situation: Situation, decision: Decision, previous: Status) -> tuple[PlanStep, ...]:
    """The versions of the plan, each with where it is; none where this generation asks for no change."""
    upgrade_path = situation.upgrade_path
    if situation.violations or upgrade_path.unknown:
        return ()
    planned = previous.plan_digest == upgrade_path.digest
    if situation.in_sync and _rolled_out(situation) and not planned:
        return ()
    notes = {step.version: step.notes for step in previous.plan} if planned else _notes(situation)
    return tuple(
        PlanStep(version=version, phase=_phase(version, situation, decision), notes=notes[version])
        for version in upgrade_path.versions
    )


def _phase(version: str, situation: Situation, decision: Decision) -> PlanPhase:
    upgrade_path, told = situation.upgrade_path, decision.preflight or situation.checks.told
    released = version not in upgrade_path.left and (bool(upgrade_path.left) or situation.in_sync)
    if released:
        behind = version != upgrade_path.present.chart_version or _rolled_out(situation)
        return PlanPhase.DONE if behind else PlanPhase.ROLLOUT
    if version != upgrade_path.next.chart_version or decision.reason in _NOT_ITS_TURN:
        return PlanPhase.PENDING
    unchecked = upgrade_path.left and situation.spec.upgrade.preflight.enabled
    if unchecked and (told is None or (told.version, told.result) != (version, PreflightResult.PASSED)):
        return PlanPhase.PREFLIGHT
    return PlanPhase.APPLY


def _rolled_out(situation: Situation) -> bool:
    if situation.spec.upgrade.rollout.strategy is RolloutStrategy.GATED:
        return situation.rollout.step is RolloutStep.DONE
    observation = situation.observation
    return not observation.nodes or is_verified(observation, released_digest(observation))


def _notes(situation: Situation) -> dict[str, tuple[str, ...]]:
    """What to know before each step that enters another minor release; on the way down nothing is entered."""
    versions = (situation.upgrade_path.present.chart_version, *situation.upgrade_path.versions)
    return {
        after: notes_of(CiliumVersion.parse(after))
        if CiliumVersion.parse(after).minor > CiliumVersion.parse(before).minor
        else ()
        for before, after in pairwise(versions)
    }
