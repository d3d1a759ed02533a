from dataclasses import replace
from typing import Any

import pytest

from builders import (
    VERSION,
    a_preflight_status,
    a_record,
    a_spec,
    a_step_of,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, PreflightResult, PreflightStatus, Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Apply, Decision, EndPreflight, Nothing, PodRef, StartPreflight, WriteRecord
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutPlan, RolloutStep
from cilium_hybrid.plan.status.upgrade_plan import plan_steps
from cilium_hybrid.plan.upgrade.gates import PreflightCheck
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.supported_minors import minor_of
from evaluations import an_evaluation

STEPS = ["1.17.15-1", "1.18.8-1", "1.19.4-1"]
UP = a_spec(version="1.19.4-1")
BY_THE_DAEMONSET = a_spec(version="1.19.4-1", upgrade={"rollout": {"strategy": "RollingUpdate"}})
UNCHECKED = a_spec(version="1.19.4-1", upgrade={"preflight": {"enabled": False}})
REGISTRY = [CiliumVersion.parse(version) for version in STEPS]
PENDING, PREFLIGHT, APPLY, ROLLOUT, DONE = PlanPhase
RUNNING, PASSED, FAILED = PreflightResult.RUNNING, PreflightResult.PASSED, PreflightResult.FAILED
RESTARTING = RolloutPlan(RolloutStep.RESTART, "x", (PodRef("cilium-a", "uid"),))


def deployed(spec: Spec, *versions: str, **more: Any) -> Observation:
    revisions = [a_step_of(spec, version, number, status="superseded") for number, version in enumerate(versions, 1)]
    revisions[-1] = replace(revisions[-1], status="deployed")
    return replace(an_observation(*revisions, record=a_record()), **more)


def at(spec: Spec = UP, *run: str, observed: Observation | None = None, **more: Any) -> SpecEvaluation:
    observation = observed or deployed(spec, *(run or [VERSION]))
    upgrade_path = find_upgrade_path(spec, observation, planned(spec), REGISTRY)
    return an_evaluation(spec, observation, **({"upgrade_path": upgrade_path} | more))


def planned(spec: Spec) -> Status:
    """The status when the plan was created."""
    upgrade_path = find_upgrade_path(spec, deployed(spec, VERSION), Status(), REGISTRY)
    steps = tuple(PlanStep(version=version, phase=PENDING, notes=("a note",)) for version in upgrade_path.versions)
    return Status(plan=steps, plan_digest=upgrade_path.digest)


def planned_steps(evaluation: SpecEvaluation, decision: Decision, previous: Status) -> tuple[PlanStep, ...]:
    return plan_steps(replace(evaluation, decision=decision, previous=previous))


def phases(evaluation: SpecEvaluation, reason: Reason, preflight: PreflightStatus | None = None) -> list[PlanPhase]:
    decision = Decision(Nothing(), reason, "x", preflight=preflight)
    return [step.phase for step in planned_steps(evaluation, decision, planned(evaluation.spec))]


AFTER_ONE = (VERSION, STEPS[0])
AFTER_TWO = (*AFTER_ONE, STEPS[1])
AFTER_ALL = (*AFTER_TWO, STEPS[2])
LAST_PASSED = PreflightCheck(a_preflight_status(STEPS[2]))


@pytest.mark.parametrize(
    ("evaluation", "reason", "preflight", "expected"),
    [
        pytest.param(at(), Reason.AWAITING_APPROVAL, None, [PENDING, PENDING, PENDING], id="awaiting approval"),
        pytest.param(
            at(),
            Reason.PREFLIGHT_RUNNING,
            a_preflight_status(STEPS[0], RUNNING),
            [PREFLIGHT, PENDING, PENDING],
            id="the preflight check starts",
        ),
        pytest.param(
            at(),
            Reason.CHART_UNAVAILABLE,
            None,
            [PREFLIGHT, PENDING, PENDING],
            id="the preflight check cannot start yet",
        ),
        pytest.param(
            at(),
            Reason.PREFLIGHT_RUNNING,
            a_preflight_status(STEPS[0]),
            [APPLY, PENDING, PENDING],
            id="the preflight check passed",
        ),
        pytest.param(
            at(preflight=PreflightCheck(a_preflight_status(STEPS[0]))),
            Reason.UPGRADING,
            None,
            [APPLY, PENDING, PENDING],
            id="it is deployed",
        ),
        pytest.param(
            at(preflight=PreflightCheck(a_preflight_status(STEPS[0], FAILED))),
            Reason.PREFLIGHT_FAILED,
            None,
            [PREFLIGHT, PENDING, PENDING],
            id="the preflight check failed",
        ),
        pytest.param(at(UNCHECKED), Reason.UPGRADING, None, [APPLY, PENDING, PENDING], id="without a preflight check"),
        pytest.param(
            at(UP, *AFTER_ONE, rollout=RESTARTING),
            Reason.ROLLING_OUT,
            None,
            [ROLLOUT, PENDING, PENDING],
            id="the first is rolled out",
        ),
        pytest.param(
            at(UP, *AFTER_ONE, rollout=RESTARTING),
            Reason.ROLLOUT_STALLED,
            None,
            [ROLLOUT, PENDING, PENDING],
            id="the rollout of the first is stalled",
        ),
        pytest.param(
            at(UP, *AFTER_ONE), Reason.PREFLIGHT_RUNNING, None, [DONE, PREFLIGHT, PENDING], id="the second starts"
        ),
        pytest.param(
            at(UP, *AFTER_ONE, preflight=PreflightCheck(a_preflight_status(STEPS[0]))),
            Reason.UPGRADING,
            None,
            [DONE, PREFLIGHT, PENDING],
            id="the check of the first does not count for the second",
        ),
        pytest.param(
            at(UP, *AFTER_TWO, rollout=RESTARTING),
            Reason.ROLLING_OUT,
            None,
            [DONE, ROLLOUT, PENDING],
            id="the second is rolled out",
        ),
        pytest.param(
            at(UP, *AFTER_ALL, rollout=RESTARTING, preflight=LAST_PASSED),
            Reason.ROLLING_OUT,
            None,
            [DONE, DONE, ROLLOUT],
            id="the last is rolled out",
        ),
        pytest.param(
            at(UP, *AFTER_ALL, preflight=LAST_PASSED), Reason.IN_SYNC, None, [DONE, DONE, DONE], id="all is done"
        ),
        pytest.param(at(), Reason.SUSPENDED, None, [PENDING, PENDING, PENDING], id="suspended"),
        pytest.param(at(), Reason.FOREIGN_REVISION, None, [PENDING, PENDING, PENDING], id="foreign revision"),
        pytest.param(at(), Reason.ROLLED_BACK, None, [PENDING, PENDING, PENDING], id="rolled back"),
        pytest.param(
            at(UP, *AFTER_ONE),
            Reason.ROLLING_BACK,
            None,
            [DONE, PENDING, PENDING],
            id="the second is being rolled back",
        ),
        pytest.param(
            at(UP, *AFTER_ONE), Reason.ROLLED_BACK, None, [DONE, PENDING, PENDING], id="the second was rolled back"
        ),
    ],
)
def test_phase_of_each_step(
    evaluation: SpecEvaluation, reason: Reason, preflight: PreflightStatus | None, expected: list[PlanPhase]
) -> None:
    assert phases(evaluation, reason, preflight) == expected


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        pytest.param(RolloutPlan(RolloutStep.DONE), DONE, id="done"),
        pytest.param(RolloutPlan(RolloutStep.WAIT, "waiting"), ROLLOUT, id="waiting for the DaemonSet controller"),
    ],
)
def test_with_rolling_update_the_phase_follows_the_rollout(rollout: RolloutPlan, expected: PlanPhase) -> None:
    evaluation = replace(at(BY_THE_DAEMONSET, *AFTER_ALL), rollout=rollout)

    assert phases(evaluation, Reason.IN_SYNC) == [DONE, DONE, expected]


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        pytest.param(an_evaluation(), [APPLY], id="an install"),
        pytest.param(
            an_evaluation(a_spec(), deployed(a_spec(), VERSION), rollout=RESTARTING), [ROLLOUT], id="rolling out"
        ),
        pytest.param(an_evaluation(a_spec(), deployed(a_spec(), VERSION), rollout=NO_ROLLOUT), [], id="in sync"),
        pytest.param(
            an_evaluation(a_spec(masquerade=False), deployed(a_spec(), VERSION)), [APPLY], id="a configuration change"
        ),
    ],
)
def test_plan_without_a_change_of_version(evaluation: SpecEvaluation, expected: list[PlanPhase]) -> None:
    decision = Decision(Nothing(), Reason.CONFIGURING, "x")

    assert [step.phase for step in planned_steps(evaluation, decision, Status())] == expected


def test_a_violation_stops_a_plan_but_does_not_erase_it() -> None:
    evaluation = at(violations=(Violation(Reason.INVALID_SPEC, "spec", "is wrong"),))

    assert planned_steps(evaluation, Decision(Nothing(), Reason.INVALID_SPEC, "x"), planned(UP)) == planned(UP).plan


def test_there_is_no_plan_before_the_versions_are_listed() -> None:
    evaluation = at(upgrade_path=find_upgrade_path(UP, deployed(UP, VERSION), Status(), None))

    assert phases(evaluation, Reason.UPGRADING) == []


def test_a_finished_plan_is_shown_until_the_spec_asks_for_another_release() -> None:
    done, decision = at(UP, *AFTER_ALL), Decision(Nothing(), Reason.IN_SYNC, "x")

    assert [step.phase for step in planned_steps(done, decision, planned(UP))] == [DONE, DONE, DONE]
    assert planned_steps(done, decision, planned(a_spec(version="1.18.8-1"))) == ()


def test_an_upgrade_to_another_minor_has_notes() -> None:
    steps = planned_steps(at(), Decision(Nothing(), Reason.UPGRADING, "x"), Status())

    assert {step.version: step.notes for step in steps} == {
        "1.17.15-1": (),
        "1.18.8-1": minor_of(CiliumVersion.parse("1.18.8-1")).notes,
        "1.19.4-1": minor_of(CiliumVersion.parse("1.19.4-1")).notes,
    }


def test_notes_do_not_change_while_a_plan_is_in_progress() -> None:
    steps = planned_steps(at(UP, *AFTER_ONE), Decision(Nothing(), Reason.UPGRADING, "x"), planned(UP))

    assert [step.notes for step in steps] == [("a note",)] * 3


def test_a_downgrade_has_no_notes() -> None:
    down = an_evaluation(a_spec(version="1.16.19-1"), deployed(a_spec(), "1.16.19-1", VERSION))
    (step,) = planned_steps(down, Decision(Nothing(), Reason.UPGRADING, "x"), Status())

    assert (step.version, step.notes) == ("1.16.19-1", ())


def test_the_plan_does_not_depend_on_the_action() -> None:
    """It depends on the reason only: the status is written before a long action and after it."""
    desired = at().upgrade_path.next
    actions = (Apply(desired, 2), EndPreflight(), StartPreflight(desired, {}), WriteRecord(a_record()), Nothing())
    plans = {planned_steps(at(), Decision(action, Reason.UPGRADING, "x"), Status()) for action in actions}

    assert len(plans) == 1
