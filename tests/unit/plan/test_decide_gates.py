"""What no decision passes by: the preflight, the approval, and what an earlier preflight left."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from builders import (
    VERSION,
    a_foreign_revision,
    a_preflight,
    a_revision,
    a_spec,
    a_step_of,
    a_told,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightResult
from cilium_hybrid.api.v1alpha1 import Approval, Spec
from cilium_hybrid.plan.actions import (
    Action,
    Apply,
    EndPreflight,
    Nothing,
    StartPreflight,
    Unlock,
)
from cilium_hybrid.plan.decide import decide
from cilium_hybrid.plan.inputs import Situation
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import spec_digest
from cilium_hybrid.plan.upgrade.gates import Checks
from strategies import situations
from unit.upgrading import LAST, PATCH, UP, cluster, facing

DOWN = a_spec(version="1.16.19-1")


def done(situation: Situation) -> tuple[Action, Reason, bool]:
    decision = decide(situation)
    return decision.action, decision.reason, decision.stalled


LEFT = a_preflight(release=a_revision(version=PATCH))


@pytest.mark.parametrize(
    ("situation", "action", "reason"),
    [
        pytest.param(facing(cluster(VERSION, spec=a_spec()), a_spec()), EndPreflight(), Reason.IN_SYNC, id="in sync"),
        pytest.param(
            facing(cluster(VERSION, spec=a_spec()), a_spec(masquerade=False)),
            EndPreflight(),
            Reason.CONFIGURING,
            id="a change of configuration",
        ),
        pytest.param(
            facing(cluster(VERSION), a_spec(version=LAST, upgrade={"preflight": {"enabled": False}})),
            EndPreflight(),
            Reason.UPGRADING,
            id="it was switched off",
        ),
        pytest.param(
            facing(cluster(VERSION), a_spec(version=LAST, upgrade={"approval": "Manual"})),
            EndPreflight(),
            Reason.AWAITING_APPROVAL,
            id="the plan has to be approved anew",
        ),
        pytest.param(
            facing(cluster(VERSION), a_spec(version=LAST, suspend=True)), Nothing(), Reason.SUSPENDED, id="suspended"
        ),
    ],
)
def test_no_preflight_is_left_behind(situation: Situation, action: Action, reason: Reason) -> None:
    assert done(replace(situation, checks=Checks(None, LEFT)))[:2] == (action, reason)
    by_hand = a_preflight(release=a_foreign_revision())
    assert done(replace(situation, checks=Checks(None, by_hand))) == done(situation)


def test_a_helm_that_was_killed_is_unlocked_before_the_next_step() -> None:
    pending = a_step_of(UP, PATCH, 2, status="pending-upgrade")
    observation = replace(cluster(VERSION), revisions=(a_step_of(UP, VERSION), pending))

    assert done(facing(observation)) == (Unlock(2), Reason.RELEASE_LOCKED, False)


@pytest.mark.parametrize(
    ("observation", "spec", "message"),
    [
        pytest.param(cluster(VERSION), UP, "releasing Cilium 1.17.15-1, step 1 of 3", id="the first of three"),
        pytest.param(cluster(VERSION), a_spec(version=PATCH), "releasing Cilium 1.17.15-1", id="the only one"),
        pytest.param(cluster(VERSION), DOWN, "releasing Cilium 1.16.19-1", id="a minor down"),
    ],
)
def test_the_message_says_which_step_it_is(observation: Observation, spec: Spec, message: str) -> None:
    situation = facing(observation, spec)
    passed = Checks(a_told(situation.upgrade_path.next.chart_version))
    decision = decide(replace(situation, checks=passed))

    assert (decision.message, decision.reason) == (message, Reason.UPGRADING)
    assert decision.action == Apply(
        situation.upgrade_path.next, 2, spec_digest(situation.upgrade_path.goal), 1, one_place=True
    )


@settings(max_examples=500)
@given(situations())
def test_no_other_version_is_released_before_its_preflight_passed(situation: Situation) -> None:
    action, told, upgrade_path = decide(situation).action, situation.checks.told, situation.upgrade_path
    another = (
        isinstance(action, Apply)
        and upgrade_path.left
        and action.desired_release.chart_version != upgrade_path.present.chart_version
    )

    if isinstance(action, Apply) and another and situation.spec.upgrade.preflight.enabled:
        assert told is not None
        assert (told.version, told.result) == (action.desired_release.chart_version, PreflightResult.PASSED)
        assert not situation.checks.seen.managed


@settings(max_examples=500)
@given(situations())
def test_nothing_is_released_over_what_runs_before_a_person_approved_it(situation: Situation) -> None:
    action = decide(situation).action

    if situation.spec.upgrade.approval is Approval.MANUAL and situation.approved != situation.upgrade_path.digest:
        assert not isinstance(action, StartPreflight)
        assert not isinstance(action, Apply) or action.over is None


@given(situations())
def test_an_approval_of_another_plan_is_as_good_as_none(situation: Situation) -> None:
    of_another, none = (replace(situation, approved=approved) for approved in ("sha256:of another plan", None))

    assert decide(of_another).action == decide(none).action
