"""The rollback of a step in the middle of a plan: only this step is rolled back, and the plan is not tried again."""

from dataclasses import replace

import pytest

from builders import VERSION, a_preflight, a_preflight_status, a_revision, a_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.plan.actions import Action, EndPreflight, LabelRollback, Nothing, Rollback, WriteRecord
from cilium_hybrid.plan.decide import decide
from cilium_hybrid.plan.observation import Observation, Rejected, Revision
from cilium_hybrid.plan.release import spec_digest
from cilium_hybrid.plan.rollout.rollout import RolloutPlan, RolloutStep
from cilium_hybrid.plan.status.upgrade_plan import plan_steps
from cilium_hybrid.plan.upgrade.gates import PreflightCheck
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from unit.upgrading import LAST, NEXT, PATCH, STEPS, UP, cluster, config_digest_of, facing, recorded

GENERATION = 7
FAILED = RolloutPlan(RolloutStep.FAILED, "the new agent fails on a (Crash)")
TARGET = facing(cluster(VERSION)).upgrade_path.target
REJECTED = Rejected(3, GENERATION, spec_digest(TARGET), FAILED.message)
IN_MID_STEP = cluster(VERSION, PATCH, NEXT, run=config_digest_of(UP, NEXT), record=recorded(NEXT, 3, 2), healthy=False)


def after_failure(
    newest: Revision | None = None, *, run: str = NEXT, healthy: bool = False, verified: int = 2
) -> Observation:
    """The cluster after the step to the second version failed; `newest` is the revision that the rollback made."""
    record = replace(recorded(NEXT, 3, verified), rejected=REJECTED)
    revisions = IN_MID_STEP.revisions if newest is None else (*IN_MID_STEP.revisions, newest)
    observation = cluster(VERSION, PATCH, NEXT, record=record, run=config_digest_of(UP, run), healthy=healthy)
    return replace(observation, revisions=revisions)


COPY = replace(IN_MID_STEP.revisions[1], number=4, status="deployed", rolled_back_to=2)
UNLABELED = Revision(4, "deployed", COPY.created_at, rolled_back_to=2)


def decision_of(observation: Observation, generation: int = GENERATION) -> tuple[Action, Reason, bool]:
    decision = decide(facing(observation, generation=generation))
    return decision.action, decision.reason, decision.stalled


def test_the_whole_plan_is_rejected() -> None:
    """Its intermediate steps would fail again."""
    decision = decide(facing(IN_MID_STEP, rollout=FAILED, generation=GENERATION))

    assert decision.reason is Reason.ROLLING_BACK
    assert decision.action == WriteRecord(replace(recorded(NEXT, 3, 2), rejected=REJECTED))


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(after_failure(), (Rollback(2, 4), Reason.ROLLING_BACK, False), id="roll back the step only"),
        pytest.param(
            after_failure(UNLABELED), (LabelRollback(4), Reason.ROLLING_BACK, False), id="label the new revision"
        ),
        pytest.param(
            after_failure(COPY, run=PATCH, healthy=True),
            (WriteRecord(replace(recorded(NEXT, 3, 4), rejected=REJECTED)), Reason.ROLLED_BACK, False),
            id="record it as verified",
        ),
        pytest.param(
            after_failure(COPY, run=PATCH, healthy=True, verified=4),
            (Nothing(), Reason.ROLLED_BACK, True),
            id="no second attempt",
        ),
    ],
)
def test_the_rollback_of_a_step(observation: Observation, expected: tuple[Action, Reason, bool]) -> None:
    assert decision_of(observation) == expected


def test_a_remaining_preflight_is_removed_before_the_rollback() -> None:
    outdated = replace(after_failure(), preflight=a_preflight(release=a_revision(version=NEXT)))
    decision = decide(
        facing(outdated, generation=GENERATION, preflight=PreflightCheck(a_preflight_status(NEXT), outdated.preflight))
    )

    assert (decision.action, decision.reason) == (EndPreflight(), Reason.ROLLING_BACK)


@pytest.mark.parametrize(
    ("spec", "generation"),
    [
        pytest.param(UP, GENERATION + 1, id="another generation"),
        pytest.param(a_spec(version=NEXT), GENERATION + 1, id="an earlier version"),
        pytest.param(a_spec(version=PATCH), GENERATION + 1, id="the version that runs"),
    ],
)
def test_a_changed_spec_continues_from_the_restored_revision(spec: Spec, generation: int) -> None:
    observation = after_failure(COPY, run=PATCH, healthy=True, verified=4)
    evaluation = facing(observation, spec, generation=generation)

    assert decide(evaluation).reason not in {Reason.ROLLED_BACK, Reason.ROLLING_BACK}
    assert list(evaluation.upgrade_path.remaining) == [step for step in (NEXT, LAST) if step <= evaluation.spec.version]


def test_the_plan_shows_the_finished_and_the_rolled_back_steps() -> None:
    upgrade_path = facing(cluster(VERSION), generation=GENERATION).upgrade_path
    plan = tuple(PlanStep(version=step, phase=PlanPhase.PENDING) for step in STEPS)
    observation = after_failure(COPY, run=PATCH, healthy=True, verified=4)
    previous = Status(plan=plan, plan_digest=upgrade_path.digest)
    path = find_upgrade_path(UP, observation, previous, GENERATION)
    evaluation = replace(facing(observation, generation=GENERATION), upgrade_path=path, previous=previous)
    steps = plan_steps(replace(evaluation, decision=decide(evaluation)))

    assert [(step.version, step.phase) for step in steps] == [
        (PATCH, PlanPhase.DONE),
        (NEXT, PlanPhase.PENDING),
        (LAST, PlanPhase.PENDING),
    ]
