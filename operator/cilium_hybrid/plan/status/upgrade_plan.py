"""The plan in the status: the versions of the upgrade path, each with its phase."""

from itertools import pairwise
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, PreflightResult
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.rollout.plan import RolloutStep
from cilium_hybrid.rules.supported_minors import minor_of

_NEXT_STEP_WAITS: Final = frozenset(
    {
        Reason.API_UNAVAILABLE,
        Reason.AWAITING_APPROVAL,
        Reason.FOREIGN_REVISION,
        Reason.NODES_DISCONNECTED,
        Reason.RELEASE_LOCKED,
        Reason.RELEASE_NOT_OWNED,
        Reason.ROLLED_BACK,
        Reason.ROLLING_BACK,
        Reason.ROLLING_OUT,
        Reason.ROLLOUT_STALLED,
        Reason.SUSPENDED,
    }
)


def plan_steps(evaluation: SpecEvaluation) -> tuple[PlanStep, ...]:
    """Return the versions of the plan with their phases; empty if nothing has to change.

    A violation stops the plan, but does not erase it.
    """
    path, previous = evaluation.upgrade_path, evaluation.previous
    if evaluation.violations:
        return previous.plan
    if path.needs_versions:
        return ()
    planned = previous.plan_digest == path.digest
    if evaluation.in_sync and _is_rolled_out(evaluation) and not planned:
        return ()
    notes = {step.version: step.notes for step in previous.plan} if planned else _notes(evaluation)
    return tuple(
        PlanStep(version=version, phase=_phase(version, evaluation), notes=notes[version]) for version in path.versions
    )


def _phase(version: str, evaluation: SpecEvaluation) -> PlanPhase:
    path, decision = evaluation.upgrade_path, evaluation.decision
    deployed = version not in path.remaining and (bool(path.remaining) or evaluation.in_sync)
    if deployed:
        done = version != path.current.chart_version or _is_rolled_out(evaluation)
        return PlanPhase.DONE if done else PlanPhase.ROLLOUT
    if version != path.next.chart_version or decision.reason in _NEXT_STEP_WAITS:
        return PlanPhase.PENDING
    preflight = decision.preflight or evaluation.preflight.reported
    passed = preflight is not None and (preflight.version, preflight.result) == (version, PreflightResult.PASSED)
    if path.remaining and evaluation.spec.upgrade.preflight.enabled and not passed:
        return PlanPhase.PREFLIGHT
    return PlanPhase.APPLY


def _is_rolled_out(evaluation: SpecEvaluation) -> bool:
    return evaluation.rollout.step is RolloutStep.DONE


def _notes(evaluation: SpecEvaluation) -> dict[str, tuple[str, ...]]:
    """Return the upgrade notes of each step to a later minor version; a downgrade has none."""
    versions = (evaluation.upgrade_path.current.chart_version, *evaluation.upgrade_path.versions)
    return {
        after: minor_of(CiliumVersion.parse(after)).notes
        if CiliumVersion.parse(after).minor > CiliumVersion.parse(before).minor
        else ()
        for before, after in pairwise(versions)
    }
