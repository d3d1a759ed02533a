"""The order of decisions: the finalizer, the backoff, the rules, and then the release."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings

from builders import (
    NOW,
    OTHER_DIGEST,
    a_foreign_revision,
    a_record,
    a_revision,
    a_revision_of,
    a_spec,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import DeletionPolicy, Spec
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    Decision,
    EndPreflight,
    LabelRollback,
    ListVersions,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.decide import decide, refuse
from cilium_hybrid.plan.inputs import Failure, SpecEvaluation
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import ReleaseState, desired_release, last_deployed, spec_digest, spec_is_unchanged
from cilium_hybrid.rules.rule import Violation
from evaluations import an_evaluation, changed
from strategies import evaluations

DESIRED = desired_release(a_spec(), an_observation())
SAME = a_revision_of(DESIRED)
OLD = a_revision(values_digest=OTHER_DIGEST)
VIOLATIONS = (
    Violation(Reason.MASK_CHANGED, "spec.ipam.maskSize", "cannot change"),
    Violation(Reason.INVALID_SPEC, "spec.version", "is wrong"),
)
SUSPENDED = a_spec(suspend=True)
UNINSTALL = a_spec(deletionPolicy="Uninstall")


@pytest.mark.parametrize(
    ("spec", "has_finalizer", "action"),
    [
        pytest.param(a_spec(), False, Nothing(), id="Retain adds none"),
        pytest.param(a_spec(), True, RemoveFinalizer(), id="Retain removes it"),
        pytest.param(UNINSTALL, False, AddFinalizer(), id="Uninstall adds it"),
        pytest.param(UNINSTALL, True, Nothing(), id="Uninstall keeps it"),
        pytest.param(
            a_spec(deletionPolicy="Uninstall", suspend=True), False, AddFinalizer(), id="added while suspended"
        ),
        pytest.param(a_spec(suspend=True), True, RemoveFinalizer(), id="removed while suspended"),
    ],
)
def test_the_finalizer_exists_only_if_the_deletion_has_to_wait(spec: Spec, has_finalizer: bool, action: Action) -> None:
    observation = an_observation(SAME, record=a_record())

    assert decide(an_evaluation(spec, observation, has_finalizer=has_finalizer)).action == action


def test_an_invalid_spec_gets_the_finalizer_too() -> None:
    assert decide(an_evaluation(UNINSTALL, violations=VIOLATIONS)).action == AddFinalizer()


def test_the_finalizer_is_added_before_anything_is_installed() -> None:
    decision = decide(an_evaluation(UNINSTALL))

    message = "adding the finalizer because spec.deletionPolicy is Uninstall"
    assert decision == Decision(AddFinalizer(), Reason.ACCEPTED, message)


@pytest.mark.parametrize(
    ("evaluation", "action"),
    [
        pytest.param(an_evaluation(observation=an_observation(SAME)), WriteRecord(a_record()), id="writing the record"),
        pytest.param(an_evaluation(UNINSTALL), AddFinalizer(), id="adding the finalizer"),
        pytest.param(an_evaluation(has_finalizer=True), RemoveFinalizer(), id="removing the finalizer"),
        pytest.param(
            an_evaluation(observation=an_observation(a_revision(status="pending-install"))), Unlock(1), id="unlocking"
        ),
    ],
)
def test_no_action_is_retried_before_its_backoff_is_over(evaluation: SpecEvaluation, action: Action) -> None:
    failure = Failure(Reason.API_UNAVAILABLE, "no answer", 2, NOW + timedelta(seconds=5))
    early = decide(replace(evaluation, failure=failure))
    later = decide(changed(evaluation, failure=failure, now=NOW + timedelta(seconds=5)))

    assert (early.action, early.reason, early.stalled) == (Nothing(), Reason.API_UNAVAILABLE, False)
    assert early.message == "no answer (tried 2 times, next attempt at 12:00:05Z)"
    assert later.action == action


def test_a_failure_that_is_not_retried_names_no_next_attempt() -> None:
    assert Failure(Reason.CHART_REFUSED, "wrong digest", 1, None).with_next_attempt() == "wrong digest"


STATES = {
    "absent": an_observation(),
    "foreign": an_observation(a_foreign_revision()),
    "foreign revision": an_observation(SAME, a_foreign_revision(2)),
    "pending": an_observation(a_revision(status="pending-install")),
    "failed": an_observation(a_revision(status="failed")),
    "out of sync": an_observation(OLD),
    "in sync": an_observation(SAME),
}


@pytest.mark.parametrize("observation", STATES.values(), ids=STATES)
def test_nothing_changes_while_suspended(observation: Observation) -> None:
    decision = decide(an_evaluation(SUSPENDED, observation, violations=VIOLATIONS))

    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.SUSPENDED, False)
    assert decision.violations == VIOLATIONS


@pytest.mark.parametrize("observation", STATES.values(), ids=STATES)
def test_nothing_changes_for_an_invalid_spec(observation: Observation) -> None:
    decision = decide(an_evaluation(observation=observation, violations=VIOLATIONS))

    assert decision == refuse(VIOLATIONS)
    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.MASK_CHANGED, True)
    assert decision.message == "spec.ipam.maskSize: cannot change (and 1 more, see condition Valid)"
    assert decision.violations == VIOLATIONS


def check_change(evaluation: SpecEvaluation, decision: Decision) -> None:
    """What holds of every change of what runs, and of its preflight."""
    assert not evaluation.spec.suspend
    assert not evaluation.violations
    assert not decision.stalled


def check_release(evaluation: SpecEvaluation, action: Apply) -> None:
    newest, before = evaluation.observation.newest, last_deployed(evaluation.observation)
    assert evaluation.failure is None or evaluation.failure.not_before is not None
    behind = evaluation.state in {ReleaseState.FAILED, ReleaseState.FOREIGN} and evaluation.upgrade_path.enters_minor
    again = behind and newest is not None and newest.chart_version != evaluation.upgrade_path.next.chart_version
    assert action.desired_release == (evaluation.upgrade_path.current if again else evaluation.upgrade_path.next)
    assert action.spec_digest == spec_digest(evaluation.upgrade_path.target)
    assert action.replaces == (before.number if before else None)
    assert action.revision == (newest.number if newest else 0) + 1
    assert evaluation.state not in {ReleaseState.NOT_OWNED, ReleaseState.PENDING, ReleaseState.IN_SYNC}
    same = spec_is_unchanged(evaluation.observation, evaluation.upgrade_path.target)
    assert evaluation.state is not ReleaseState.FOREIGN or not same


@settings(max_examples=300)
@given(evaluations())
def test_every_state_has_a_safe_decision(evaluation: SpecEvaluation) -> None:
    decision, upgrade_path = decide(evaluation), evaluation.upgrade_path
    rolls_out = evaluation.state is ReleaseState.IN_SYNC or upgrade_path.enters_minor or upgrade_path.needs_versions

    if evaluation.failure is not None and evaluation.failure.is_backing_off(evaluation.now):
        assert decision.action == Nothing()
    match decision.action:
        case Apply():
            check_change(evaluation, decision)
            check_release(evaluation, decision.action)
        case StartPreflight(desired):
            check_change(evaluation, decision)
            assert evaluation.spec.upgrade.preflight.enabled
            assert evaluation.failure is None or evaluation.failure.not_before is not None
            assert (desired, desired.chart_version) == (
                evaluation.upgrade_path.next,
                evaluation.upgrade_path.remaining[0],
            )
        case RestartAgents(pods):
            check_change(evaluation, decision)
            assert rolls_out
            assert pods == evaluation.rollout.pods
        case WriteRecord(record):
            assert rolls_out
            assert record != evaluation.observation.record
        case _:
            check_other_action(evaluation, decision)


def check_other_action(evaluation: SpecEvaluation, decision: Decision) -> None:
    newest = evaluation.observation.newest
    match decision.action:
        case ListVersions(ref):
            assert (evaluation.upgrade_path.needs_versions, ref) == (True, evaluation.spec.chart.ref)
        case EndPreflight():
            assert evaluation.preflight.observed.exists
            assert not evaluation.spec.suspend
        case Unlock(revision):
            assert evaluation.state is ReleaseState.PENDING
            assert newest is not None
            assert revision == newest.number
        case AddFinalizer():
            assert evaluation.spec.deletion_policy is DeletionPolicy.UNINSTALL
            assert not evaluation.input.resource.has_finalizer
        case RemoveFinalizer():
            assert evaluation.spec.deletion_policy is DeletionPolicy.RETAIN
            assert evaluation.input.resource.has_finalizer
        case LabelRollback() | Rollback() | Uninstall():
            pytest.fail("only a deletion uninstalls Cilium, and no revision was rejected")
        case _:
            assert decision.action == Nothing()
            assert decision.message


@settings(max_examples=300)
@given(evaluations())
def test_the_record_is_written_once(evaluation: SpecEvaluation) -> None:
    decision = decide(evaluation)
    if isinstance(decision.action, WriteRecord):
        record = decision.action.record
        observation = an_observation(*evaluation.observation.revisions, record=record)
        has_finalizer = evaluation.input.resource.has_finalizer
        after = decide(an_evaluation(evaluation.spec, observation, has_finalizer=has_finalizer))

        assert after.action != decision.action
        # Otherwise the next step of the upgrade path, or the rollback, follows.
        if evaluation.in_sync and record.rejected is None:
            assert (after.action, after.reason) == (Nothing(), Reason.IN_SYNC)
