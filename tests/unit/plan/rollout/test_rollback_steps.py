"""The way back from a step in the middle of a plan: over that step alone, and the plan is not tried again."""

from dataclasses import replace

import pytest

from builders import VERSION, a_preflight, a_revision, a_spec, a_told
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.plan.actions import Action, EndPreflight, LabelRollback, Nothing, Rollback, WriteRecord
from cilium_hybrid.plan.decide import decide
from cilium_hybrid.plan.observation import Observation, Rejected, Revision
from cilium_hybrid.plan.release import spec_digest
from cilium_hybrid.plan.rollout.rollout import RolloutPlan, RolloutStep
from cilium_hybrid.plan.status.upgrade_plan import plan_steps
from cilium_hybrid.plan.upgrade.gates import Checks
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from unit.upgrading import LAST, NEXT, PATCH, STEPS, UP, cluster, config_digest_of, facing, recorded

GENERATION = 7
FAILED = RolloutPlan(RolloutStep.FAILED, "the new agent fails on a (Crash)")
GOAL = facing(cluster(VERSION)).upgrade_path.goal
REJECTED = Rejected(3, GENERATION, spec_digest(GOAL), FAILED.message)
IN_MID_STEP = cluster(VERSION, PATCH, NEXT, run=config_digest_of(UP, NEXT), record=recorded(NEXT, 3, 2), healthy=False)


def undone(newest: Revision | None = None, *, run: str = NEXT, healthy: bool = False, verified: int = 2) -> Observation:
    """The step to the second version failed, and what was done about it."""
    record = replace(recorded(NEXT, 3, verified), rejected=REJECTED)
    revisions = IN_MID_STEP.revisions if newest is None else (*IN_MID_STEP.revisions, newest)
    seen = cluster(VERSION, PATCH, NEXT, record=record, run=config_digest_of(UP, run), healthy=healthy)
    return replace(seen, revisions=revisions)


COPY = replace(IN_MID_STEP.revisions[1], number=4, status="deployed", copies=2)
UNCLAIMED = Revision(4, "deployed", COPY.made_at, copies=2)


def done(observation: Observation, generation: int = GENERATION) -> tuple[Action, Reason, bool]:
    decision = decide(facing(observation, generation=generation))
    return decision.action, decision.reason, decision.stalled


def test_what_is_rejected_is_all_that_the_spec_asks_for() -> None:
    """Each step on the way to it leads to the same failure."""
    decision = decide(facing(IN_MID_STEP, rollout=FAILED, generation=GENERATION))

    assert decision.reason is Reason.ROLLING_BACK
    assert decision.action == WriteRecord(replace(recorded(NEXT, 3, 2), rejected=REJECTED))


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(undone(), (Rollback(2, 4), Reason.ROLLING_BACK, False), id="back over the step alone"),
        pytest.param(undone(UNCLAIMED), (LabelRollback(4), Reason.ROLLING_BACK, False), id="said whose it is"),
        pytest.param(
            undone(COPY, run=PATCH, healthy=True),
            (WriteRecord(replace(recorded(NEXT, 3, 4), rejected=REJECTED)), Reason.ROLLED_BACK, False),
            id="good from then on",
        ),
        pytest.param(
            undone(COPY, run=PATCH, healthy=True, verified=4),
            (Nothing(), Reason.ROLLED_BACK, True),
            id="and no second try",
        ),
    ],
)
def test_the_way_back_over_a_step(observation: Observation, expected: tuple[Action, Reason, bool]) -> None:
    assert done(observation) == expected


def test_a_preflight_that_is_left_goes_before_the_way_back() -> None:
    outdated = replace(undone(), preflight=a_preflight(release=a_revision(version=NEXT)))
    decision = decide(facing(outdated, generation=GENERATION, checks=Checks(a_told(NEXT), outdated.preflight)))

    assert (decision.action, decision.reason) == (EndPreflight(), Reason.ROLLING_BACK)


@pytest.mark.parametrize(
    ("spec", "generation"),
    [
        pytest.param(UP, GENERATION + 1, id="another generation"),
        pytest.param(a_spec(version=NEXT), GENERATION + 1, id="less far"),
        pytest.param(a_spec(version=PATCH), GENERATION + 1, id="what runs"),
    ],
)
def test_a_changed_spec_goes_on_from_what_was_gone_back_to(spec: Spec, generation: int) -> None:
    observation = undone(COPY, run=PATCH, healthy=True, verified=4)
    situation = facing(observation, spec, generation=generation)

    assert decide(situation).reason not in {Reason.ROLLED_BACK, Reason.ROLLING_BACK}
    assert list(situation.upgrade_path.left) == [step for step in (NEXT, LAST) if step <= situation.spec.version]


def test_the_plan_shows_what_is_done_and_what_was_undone() -> None:
    upgrade_path = facing(cluster(VERSION), generation=GENERATION).upgrade_path
    plan = tuple(PlanStep(version=step, phase=PlanPhase.PENDING) for step in STEPS)
    observation = undone(COPY, run=PATCH, healthy=True, verified=4)
    told = Status(plan=plan, plan_digest=upgrade_path.digest)
    situation = facing(observation, generation=GENERATION)
    situation = replace(situation, upgrade_path=find_upgrade_path(UP, observation, told, GENERATION))
    steps = plan_steps(situation, decide(situation), told)

    assert [(step.version, step.phase) for step in steps] == [
        (PATCH, PlanPhase.DONE),
        (NEXT, PlanPhase.PENDING),
        (LAST, PlanPhase.PENDING),
    ]
