from dataclasses import replace
from typing import Any

import pytest

from builders import (
    OTHER_DIGEST,
    VERSION,
    a_healthy_observation,
    a_node,
    a_record,
    a_situation,
    a_spec,
    a_step_of,
    a_told,
    an_agent,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, PreflightResult, PreflightStatus, Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Apply, Decision, EndPreflight, Nothing, StartPreflight, WriteRecord
from cilium_hybrid.plan.inputs import Situation
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, RolloutPlan, RolloutStep
from cilium_hybrid.plan.status.upgrade_plan import plan_steps
from cilium_hybrid.plan.upgrade.gates import Checks
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.supported_minors import MINORS

STEPS = ["1.17.15-1", "1.18.8-1", "1.19.4-1"]
UP = a_spec(version="1.19.4-1")
BY_THE_DAEMONSET = a_spec(version="1.19.4-1", upgrade={"rollout": {"strategy": "RollingUpdate"}})
UNCHECKED = a_spec(version="1.19.4-1", upgrade={"preflight": {"enabled": False}})
REGISTRY = [CiliumVersion.parse(version) for version in STEPS]
PENDING, PREFLIGHT, APPLY, ROLLOUT, DONE = PlanPhase
RUNNING, PASSED, FAILED = PreflightResult.RUNNING, PreflightResult.PASSED, PreflightResult.FAILED
MOVING = RolloutPlan(RolloutStep.RESTART, "x", ("cilium-a",))


def released(spec: Spec, *versions: str, **more: Any) -> Observation:
    made = [a_step_of(spec, version, number, status="superseded") for number, version in enumerate(versions, 1)]
    made[-1] = replace(made[-1], status="deployed")
    return replace(an_observation(*made, record=a_record()), **more)


def at(spec: Spec = UP, *run: str, seen: Observation | None = None, **more: Any) -> Situation:
    observation = seen or released(spec, *(run or [VERSION]))
    upgrade_path = find_upgrade_path(spec, observation, planned(spec), 0, REGISTRY)
    return a_situation(spec, observation, **({"upgrade_path": upgrade_path} | more))


def planned(spec: Spec) -> Status:
    """The status as it was written when the plan was made."""
    upgrade_path = find_upgrade_path(spec, released(spec, VERSION), Status(), 0, REGISTRY)
    steps = tuple(PlanStep(version=version, phase=PENDING, notes=("told",)) for version in upgrade_path.versions)
    return Status(plan=steps, plan_digest=upgrade_path.digest)


def phases(situation: Situation, reason: Reason, preflight: PreflightStatus | None = None) -> list[PlanPhase]:
    decision = Decision(Nothing(), reason, "x", preflight=preflight)
    return [step.phase for step in plan_steps(situation, decision, planned(situation.spec))]


AFTER_ONE = (VERSION, STEPS[0])
AFTER_TWO = (*AFTER_ONE, STEPS[1])
AFTER_ALL = (*AFTER_TWO, STEPS[2])
LAST_PASSED = Checks(a_told(STEPS[2]))


@pytest.mark.parametrize(
    ("situation", "reason", "preflight", "expected"),
    [
        pytest.param(
            at(), Reason.AWAITING_APPROVAL, None, [PENDING, PENDING, PENDING], id="somebody has to approve it"
        ),
        pytest.param(
            at(), Reason.PREFLIGHT_RUNNING, a_told(STEPS[0], RUNNING), [PREFLIGHT, PENDING, PENDING], id="it begins"
        ),
        pytest.param(at(), Reason.CHART_UNAVAILABLE, None, [PREFLIGHT, PENDING, PENDING], id="it cannot begin yet"),
        pytest.param(
            at(), Reason.PREFLIGHT_RUNNING, a_told(STEPS[0]), [APPLY, PENDING, PENDING], id="the preflight passed"
        ),
        pytest.param(
            at(checks=Checks(a_told(STEPS[0]))), Reason.UPGRADING, None, [APPLY, PENDING, PENDING], id="it is applied"
        ),
        pytest.param(
            at(checks=Checks(a_told(STEPS[0], FAILED))),
            Reason.PREFLIGHT_FAILED,
            None,
            [PREFLIGHT, PENDING, PENDING],
            id="the preflight failed",
        ),
        pytest.param(at(UNCHECKED), Reason.UPGRADING, None, [APPLY, PENDING, PENDING], id="without a preflight"),
        pytest.param(
            at(UP, *AFTER_ONE, rollout=MOVING),
            Reason.ROLLING_OUT,
            None,
            [ROLLOUT, PENDING, PENDING],
            id="the first is rolled out",
        ),
        pytest.param(
            at(UP, *AFTER_ONE, rollout=MOVING),
            Reason.ROLLOUT_STALLED,
            None,
            [ROLLOUT, PENDING, PENDING],
            id="the first does not get on",
        ),
        pytest.param(
            at(UP, *AFTER_ONE), Reason.PREFLIGHT_RUNNING, None, [DONE, PREFLIGHT, PENDING], id="the second begins"
        ),
        pytest.param(
            at(UP, *AFTER_ONE, checks=Checks(a_told(STEPS[0]))),
            Reason.UPGRADING,
            None,
            [DONE, PREFLIGHT, PENDING],
            id="the preflight of the first is none of the second",
        ),
        pytest.param(
            at(UP, *AFTER_TWO, rollout=MOVING),
            Reason.ROLLING_OUT,
            None,
            [DONE, ROLLOUT, PENDING],
            id="the second is rolled out",
        ),
        pytest.param(
            at(UP, *AFTER_ALL, rollout=MOVING, checks=LAST_PASSED),
            Reason.ROLLING_OUT,
            None,
            [DONE, DONE, ROLLOUT],
            id="the last is rolled out",
        ),
        pytest.param(
            at(UP, *AFTER_ALL, checks=LAST_PASSED), Reason.IN_SYNC, None, [DONE, DONE, DONE], id="all is done"
        ),
        pytest.param(at(), Reason.SUSPENDED, None, [PENDING, PENDING, PENDING], id="suspended"),
        pytest.param(at(), Reason.FOREIGN_REVISION, None, [PENDING, PENDING, PENDING], id="somebody else was there"),
        pytest.param(at(), Reason.ROLLED_BACK, None, [PENDING, PENDING, PENDING], id="all was undone"),
        pytest.param(
            at(UP, *AFTER_ONE), Reason.ROLLING_BACK, None, [DONE, PENDING, PENDING], id="the second is being undone"
        ),
        pytest.param(
            at(UP, *AFTER_ONE), Reason.ROLLED_BACK, None, [DONE, PENDING, PENDING], id="the second was undone"
        ),
    ],
)
def test_how_far_each_step_is(
    situation: Situation, reason: Reason, preflight: PreflightStatus | None, expected: list[PlanPhase]
) -> None:
    assert phases(situation, reason, preflight) == expected


@pytest.mark.parametrize(
    ("nodes", "agents", "expected"),
    [
        pytest.param([a_node()], [an_agent()], DONE, id="every agent runs it"),
        pytest.param([a_node()], [an_agent(config_digest=OTHER_DIGEST)], ROLLOUT, id="an agent does not run it"),
        pytest.param([a_node()], [an_agent(ready=False)], ROLLOUT, id="an agent is not Ready"),
        pytest.param([], [], DONE, id="there is no node"),
    ],
)
def test_the_daemonset_rolls_out_by_itself(nodes: Any, agents: Any, expected: PlanPhase) -> None:
    well = a_healthy_observation()
    seen = replace(
        released(BY_THE_DAEMONSET, *AFTER_ALL),
        agent_set=well.agent_set,
        nodes={node.name: node for node in nodes},
        agents={agent.node: agent for agent in agents},
    )

    assert phases(at(BY_THE_DAEMONSET, seen=seen), Reason.IN_SYNC) == [DONE, DONE, expected]


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        pytest.param(a_situation(), [APPLY], id="an install"),
        pytest.param(a_situation(a_spec(), released(a_spec(), VERSION), rollout=MOVING), [ROLLOUT], id="its agents"),
        pytest.param(a_situation(a_spec(), released(a_spec(), VERSION), rollout=NO_ROLLOUT), [], id="nothing to do"),
        pytest.param(
            a_situation(a_spec(masquerade=False), released(a_spec(), VERSION)), [APPLY], id="a change of configuration"
        ),
    ],
)
def test_a_plan_of_the_version_that_runs(situation: Situation, expected: list[PlanPhase]) -> None:
    decision = Decision(Nothing(), Reason.CONFIGURING, "x")

    assert [step.phase for step in plan_steps(situation, decision, Status())] == expected


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(at(violations=(Violation(Reason.INVALID_SPEC, "spec", "is wrong"),)), id="a spec that is wrong"),
        pytest.param(
            at(upgrade_path=find_upgrade_path(UP, released(UP, VERSION), Status(), 0, None)),
            id="the registry was not asked yet",
        ),
    ],
)
def test_where_the_way_is_not_known_there_is_no_plan(situation: Situation) -> None:
    assert phases(situation, Reason.UPGRADING) == []


def test_a_plan_is_shown_to_its_end_and_the_next_generation_does_not_show_it() -> None:
    done = at(UP, *AFTER_ALL)
    decision = Decision(Nothing(), Reason.IN_SYNC, "x")
    upgrade_path = find_upgrade_path(UP, released(UP, *AFTER_ALL), planned(UP), 1, REGISTRY)

    assert [step.phase for step in plan_steps(done, decision, planned(UP))] == [DONE, DONE, DONE]
    assert plan_steps(replace(done, upgrade_path=upgrade_path, generation=1), decision, planned(UP)) == ()


def test_notes_are_told_of_a_minor_that_is_entered() -> None:
    steps = plan_steps(at(), Decision(Nothing(), Reason.UPGRADING, "x"), Status())

    assert {step.version: step.notes for step in steps} == {
        "1.17.15-1": (),
        "1.18.8-1": MINORS["1.18"].notes,
        "1.19.4-1": MINORS["1.19"].notes,
    }


def test_notes_that_were_told_stay_as_they_were() -> None:
    steps = plan_steps(at(UP, *AFTER_ONE), Decision(Nothing(), Reason.UPGRADING, "x"), planned(UP))

    assert [step.notes for step in steps] == [("told",)] * 3


def test_down_there_is_nothing_to_know() -> None:
    down = a_situation(a_spec(version="1.16.19-1"), released(a_spec(), VERSION))
    (step,) = plan_steps(down, Decision(Nothing(), Reason.UPGRADING, "x"), Status())

    assert (step.version, step.notes) == ("1.16.19-1", ())


def test_the_action_is_none_of_its_business() -> None:
    """Only why it was chosen: the status is written before a long action, and after it."""
    desired = at().upgrade_path.next
    actions = (Apply(desired, 2), EndPreflight(), StartPreflight(desired, {}), WriteRecord(a_record()), Nothing())
    told = {plan_steps(at(), Decision(action, Reason.UPGRADING, "x"), Status()) for action in actions}

    assert len(told) == 1
