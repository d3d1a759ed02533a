"""What goes before what: the finalizer, a pause, the rules, and only then the release."""

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
    a_situation,
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
from cilium_hybrid.plan.inputs import Failure, Situation
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import ReleaseState, asks_for_the_same, desired_release, last_deployed, spec_digest
from cilium_hybrid.rules.rule import Violation
from strategies import situations

WANT = desired_release(a_spec(), an_observation())
SAME = a_revision_of(WANT)
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
        pytest.param(a_spec(), False, Nothing(), id="Retain never holds the resource"),
        pytest.param(a_spec(), True, RemoveFinalizer(), id="Retain lets go of it"),
        pytest.param(UNINSTALL, False, AddFinalizer(), id="Uninstall holds it"),
        pytest.param(UNINSTALL, True, Nothing(), id="Uninstall goes on holding it"),
        pytest.param(
            a_spec(deletionPolicy="Uninstall", suspend=True), False, AddFinalizer(), id="suspended it is held too"
        ),
        pytest.param(a_spec(suspend=True), True, RemoveFinalizer(), id="suspended it is let go of too"),
    ],
)
def test_the_resource_is_held_only_where_its_deletion_has_to_wait(
    spec: Spec, has_finalizer: bool, action: Action
) -> None:
    observation = an_observation(SAME, record=a_record())

    assert decide(a_situation(spec, observation, has_finalizer=has_finalizer)).action == action


def test_a_spec_that_breaks_a_rule_is_held_all_the_same() -> None:
    assert decide(a_situation(UNINSTALL, violations=VIOLATIONS)).action == AddFinalizer()


def test_the_resource_is_held_before_anything_is_installed() -> None:
    decision = decide(a_situation(UNINSTALL))

    assert decision == Decision(AddFinalizer(), Reason.ACCEPTED, "spec.deletionPolicy is Uninstall")


@pytest.mark.parametrize(
    ("situation", "again"),
    [
        pytest.param(a_situation(observation=an_observation(SAME)), WriteRecord(a_record()), id="the record"),
        pytest.param(a_situation(UNINSTALL), AddFinalizer(), id="the finalizer"),
        pytest.param(a_situation(has_finalizer=True), RemoveFinalizer(), id="taking it off"),
        pytest.param(
            a_situation(observation=an_observation(a_revision(status="pending-install"))), Unlock(1), id="the lock"
        ),
    ],
)
def test_no_action_is_tried_again_before_its_pause_is_over(situation: Situation, again: Action) -> None:
    failure = Failure(Reason.API_UNAVAILABLE, "no answer", 2, NOW + timedelta(seconds=5))
    early = decide(replace(situation, failure=failure))
    later = decide(replace(situation, failure=failure, now=NOW + timedelta(seconds=5)))

    assert (early.action, early.reason, early.stalled) == (Nothing(), Reason.API_UNAVAILABLE, False)
    assert early.message == "no answer (tried 2 times, next at 12:00:05Z)"
    assert later.action == again


def test_a_failure_that_only_a_person_can_mend_names_no_next_try() -> None:
    assert Failure(Reason.CHART_REFUSED, "the chart is another", 1, None).with_next_try() == "the chart is another"


STATES = {
    "absent": an_observation(),
    "somebody else's": an_observation(a_foreign_revision()),
    "changed by somebody else": an_observation(SAME, a_foreign_revision(2)),
    "pending": an_observation(a_revision(status="pending-install")),
    "failed": an_observation(a_revision(status="failed")),
    "out of sync": an_observation(OLD),
    "in sync": an_observation(SAME),
}


@pytest.mark.parametrize("observation", STATES.values(), ids=STATES)
def test_nothing_is_done_while_suspended(observation: Observation) -> None:
    decision = decide(a_situation(SUSPENDED, observation, violations=VIOLATIONS))

    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.SUSPENDED, False)
    assert decision.violations == VIOLATIONS


@pytest.mark.parametrize("observation", STATES.values(), ids=STATES)
def test_nothing_is_done_for_a_spec_that_breaks_a_rule(observation: Observation) -> None:
    decision = decide(a_situation(observation=observation, violations=VIOLATIONS))

    assert decision == refuse(VIOLATIONS)
    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.MASK_CHANGED, True)
    assert decision.message == "spec.ipam.maskSize: cannot change (and 1 more, see condition Valid)"
    assert decision.violations == VIOLATIONS


def changes(situation: Situation, decision: Decision) -> None:
    """What holds of every change of what runs, and of its preflight."""
    assert not situation.spec.suspend
    assert not situation.violations
    assert not decision.stalled


def releases(situation: Situation, action: Apply) -> None:
    newest, before = situation.observation.newest, last_deployed(situation.observation)
    assert situation.failure is None or situation.failure.not_before is not None
    behind = situation.state in {ReleaseState.FAILED, ReleaseState.FOREIGN} and situation.upgrade_path.enters_minor
    again = behind and newest is not None and newest.chart_version != situation.upgrade_path.next.chart_version
    assert action.desired_release == (situation.upgrade_path.present if again else situation.upgrade_path.next)
    assert action.spec_digest == spec_digest(situation.upgrade_path.goal)
    assert action.over == (before.number if before else None)
    assert action.revision == (newest.number if newest else 0) + 1
    assert situation.state not in {ReleaseState.NOT_OWNED, ReleaseState.PENDING, ReleaseState.IN_SYNC}
    same = asks_for_the_same(situation.observation, situation.upgrade_path.goal)
    assert situation.state is not ReleaseState.FOREIGN or not same


@settings(max_examples=300)
@given(situations())
def test_every_state_has_an_answer_that_keeps_the_promises(situation: Situation) -> None:
    decision, upgrade_path = decide(situation), situation.upgrade_path
    rolls_out = situation.state is ReleaseState.IN_SYNC or upgrade_path.enters_minor or upgrade_path.unknown

    if situation.failure is not None and situation.failure.waits(situation.now):
        assert decision.action == Nothing()
    match decision.action:
        case Apply():
            changes(situation, decision)
            releases(situation, decision.action)
        case StartPreflight(desired):
            changes(situation, decision)
            assert situation.spec.upgrade.preflight.enabled
            assert situation.failure is None or situation.failure.not_before is not None
            assert (desired, desired.chart_version) == (situation.upgrade_path.next, situation.upgrade_path.left[0])
        case RestartAgents(pods):
            changes(situation, decision)
            assert rolls_out
            assert pods == situation.rollout.pods
        case WriteRecord(record):
            assert rolls_out
            assert record != situation.observation.record
        case _:
            of_the_rest(situation, decision)


def of_the_rest(situation: Situation, decision: Decision) -> None:
    newest = situation.observation.newest
    match decision.action:
        case ListVersions(ref):
            assert (situation.upgrade_path.unknown, ref) == (True, situation.spec.chart.ref)
        case EndPreflight():
            assert situation.checks.seen.there
            assert not situation.spec.suspend
        case Unlock(revision):
            assert situation.state is ReleaseState.PENDING
            assert newest is not None
            assert revision == newest.number
        case AddFinalizer():
            assert situation.spec.deletion_policy is DeletionPolicy.UNINSTALL
            assert not situation.has_finalizer
        case RemoveFinalizer():
            assert situation.spec.deletion_policy is DeletionPolicy.RETAIN
            assert situation.has_finalizer
        case LabelRollback() | Rollback() | Uninstall():
            pytest.fail("Cilium is only uninstalled on deletion, and nothing was rejected here")
        case _:
            assert decision.action == Nothing()
            assert decision.message


@given(situations())
def test_what_was_remembered_is_not_remembered_again(situation: Situation) -> None:
    decision = decide(situation)
    if isinstance(decision.action, WriteRecord):
        seen = an_observation(*situation.observation.revisions, record=decision.action.record)
        after = decide(a_situation(situation.spec, seen, has_finalizer=situation.has_finalizer))

        assert (after.action, after.reason) == (Nothing(), Reason.IN_SYNC)
