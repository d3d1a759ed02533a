"""The gates of every decision: approval, the preflight check, and the removal of a leftover one."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from builders import VERSION, a_foreign_revision, a_preflight, a_revision, a_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightResult
from cilium_hybrid.api.upgrade import Approval
from cilium_hybrid.plan.actions import (
    Action,
    Apply,
    EndPreflight,
    MarkRevision,
    Nothing,
    PodRef,
    RestartAgents,
    StartPreflight,
)
from cilium_hybrid.plan.decide import decide
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.rollout.plan import RolloutPlan, RolloutStep
from cilium_hybrid.plan.upgrade.gates import PreflightCheck, preflight_digest
from evaluations import changed
from strategies import evaluations
from unit.upgrading import LAST, PATCH, cluster, facing, recorded

DOWN = a_spec(version="1.16.19-1")


def outcome(evaluation: SpecEvaluation) -> tuple[Action, Reason, bool]:
    decision = decide(evaluation)
    return decision.action, decision.reason, decision.stalled


LEFTOVER = a_preflight(release=a_revision(version=PATCH))


@pytest.mark.parametrize(
    ("evaluation", "action", "reason"),
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
            id="the check was disabled",
        ),
        pytest.param(
            facing(cluster(VERSION), a_spec(version=LAST, upgrade={"approval": "Manual"})),
            EndPreflight(),
            Reason.AWAITING_APPROVAL,
            id="the plan must be approved again",
        ),
        pytest.param(
            facing(cluster(VERSION), a_spec(version=LAST, suspend=True)), Nothing(), Reason.SUSPENDED, id="suspended"
        ),
    ],
)
def test_a_leftover_preflight_check_is_removed(evaluation: SpecEvaluation, action: Action, reason: Reason) -> None:
    assert outcome(replace(evaluation, preflight=PreflightCheck(None, LEFTOVER)))[:2] == (action, reason)
    by_hand = a_preflight(release=a_foreign_revision())
    assert outcome(replace(evaluation, preflight=PreflightCheck(None, by_hand))) == outcome(evaluation)


@pytest.mark.parametrize(
    ("rollout", "action"),
    [
        pytest.param(RolloutPlan(RolloutStep.DONE, verified=True), MarkRevision, id="it is verified"),
        pytest.param(
            RolloutPlan(RolloutStep.RESTART, "restarting mi-1", (PodRef("a", "b"),)), RestartAgents, id="it continues"
        ),
    ],
)
def test_a_rollout_continues_beside_the_preflight_check_of_the_next_version(
    rollout: RolloutPlan, action: type[Action]
) -> None:
    """If the check were removed first, the rollout and the check would prevent each other for ever."""
    observation = cluster(VERSION, PATCH, record=recorded(verified=1))
    evaluation = replace(facing(observation), rollout=rollout, preflight=PreflightCheck(None, LEFTOVER))

    assert isinstance(decide(evaluation).action, action)


@settings(max_examples=500)
@given(evaluations())
def test_no_other_version_is_deployed_before_its_preflight_check_passes(evaluation: SpecEvaluation) -> None:
    action, reported, upgrade_path = decide(evaluation).action, evaluation.preflight.reported, evaluation.upgrade_path
    another = (
        isinstance(action, Apply)
        and upgrade_path.remaining
        and action.desired_release.chart_version != upgrade_path.current.chart_version
    )

    if isinstance(action, Apply) and another and evaluation.spec.upgrade.preflight.enabled:
        assert reported is not None
        digest = preflight_digest(evaluation.spec, action.desired_release, evaluation.record.handled)
        assert (reported.digest, reported.result) == (digest, PreflightResult.PASSED)
        assert not evaluation.preflight.observed.managed


@settings(max_examples=500)
@given(evaluations())
def test_with_manual_approval_no_release_is_replaced_before_it_is_approved(evaluation: SpecEvaluation) -> None:
    action = decide(evaluation).action

    if (
        evaluation.spec.upgrade.approval is Approval.MANUAL
        and evaluation.input.resource.approved != evaluation.upgrade_path.digest
    ):
        assert not isinstance(action, StartPreflight)
        assert not isinstance(action, Apply) or action.replaces is None


@given(evaluations())
def test_an_approval_of_another_plan_has_no_effect(evaluation: SpecEvaluation) -> None:
    approved, unapproved = (changed(evaluation, approved=value) for value in ("sha256:of another plan", None))

    assert decide(approved).action == decide(unapproved).action
