"""The order of decisions, and attempts that failed before."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from builders import (
    NOW,
    OTHER_DIGEST,
    VERSION,
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
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.classify import ReleaseClass
from cilium_hybrid.plan.decide import attempt, decide, failure_key, refuse
from cilium_hybrid.plan.inputs import Failure, SpecEvaluation
from cilium_hybrid.plan.observation import Observation, ReleasePayload
from cilium_hybrid.plan.release import desired_release
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
LOST = ("nodes: 403 Forbidden",)
STATES = {
    ReleaseClass.NONE: an_observation(),
    ReleaseClass.UNINSTALLED: an_observation(a_revision(status="uninstalled")),
    ReleaseClass.UNREADABLE: an_observation(SAME, payloads={1: ReleasePayload(readable=False)}),
    ReleaseClass.NOT_OWNED: an_observation(a_foreign_revision()),
    ReleaseClass.OURS_DEPLOYED: an_observation(OLD, record=a_record()),
    ReleaseClass.OURS_FAILED: an_observation(a_revision(status="failed"), record=a_record()),
    ReleaseClass.OURS_PENDING: an_observation(a_revision(status="pending-install"), record=a_record()),
    ReleaseClass.OURS_UNINSTALLING: an_observation(a_revision(status="uninstalling"), record=a_record()),
    ReleaseClass.FOREIGN_DEPLOYED: an_observation(SAME, a_foreign_revision(2)),
    ReleaseClass.FOREIGN_FAILED: an_observation(SAME, a_foreign_revision(2, status="failed")),
    ReleaseClass.FOREIGN_PENDING: an_observation(SAME, a_foreign_revision(2, status="pending-upgrade")),
    ReleaseClass.FOREIGN_UNINSTALLING: an_observation(SAME, a_foreign_revision(2, status="uninstalling")),
}
LEFT_ALONE = {state: seen for state, seen in STATES.items() if state.foreign} | {
    state: STATES[state] for state in (ReleaseClass.NOT_OWNED, ReleaseClass.UNREADABLE)
}


@pytest.mark.parametrize(
    ("state", "action", "reason"),
    [
        (ReleaseClass.NONE, Apply, Reason.INSTALLING),
        (ReleaseClass.UNINSTALLED, Apply, Reason.INSTALLING),
        (ReleaseClass.UNREADABLE, Nothing, Reason.RELEASE_LOCKED),
        (ReleaseClass.NOT_OWNED, Nothing, Reason.RELEASE_NOT_OWNED),
        (ReleaseClass.OURS_DEPLOYED, Apply, Reason.CONFIGURING),
        (ReleaseClass.OURS_FAILED, Apply, Reason.INSTALLING),
        (ReleaseClass.OURS_PENDING, Unlock, Reason.RELEASE_LOCKED),
        (ReleaseClass.OURS_UNINSTALLING, Nothing, Reason.RELEASE_LOCKED),
        (ReleaseClass.FOREIGN_DEPLOYED, Nothing, Reason.FOREIGN_REVISION),
        (ReleaseClass.FOREIGN_FAILED, Nothing, Reason.FOREIGN_REVISION),
        (ReleaseClass.FOREIGN_PENDING, Nothing, Reason.RELEASE_LOCKED),
        (ReleaseClass.FOREIGN_UNINSTALLING, Nothing, Reason.RELEASE_LOCKED),
    ],
)
def test_the_first_decision_for_each_class(state: ReleaseClass, action: type[Action], reason: Reason) -> None:
    evaluation = an_evaluation(observation=STATES[state])
    decision = decide(evaluation)

    assert evaluation.release is state
    assert (type(decision.action), decision.reason) == (action, reason)


@pytest.mark.parametrize("observation", STATES.values(), ids=STATES)
def test_nothing_changes_while_suspended(observation: Observation) -> None:
    for has_finalizer in (False, True):
        evaluation = an_evaluation(
            a_spec(suspend=True, deletionPolicy="Uninstall"),
            replace(observation, lost_watches=LOST),
            violations=VIOLATIONS,
            has_finalizer=has_finalizer,
            requested="now",
        )
        decision = decide(evaluation)

        assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.SUSPENDED, False)
        assert decision.violations == VIOLATIONS


@pytest.mark.parametrize("observation", STATES.values(), ids=STATES)
def test_nothing_changes_while_a_watch_is_lost(observation: Observation) -> None:
    decision = decide(an_evaluation(observation=replace(observation, lost_watches=LOST), requested="now"))

    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.API_UNAVAILABLE, False)
    assert LOST[0] in decision.message


def test_a_lost_watch_does_not_hide_what_is_wrong_with_the_spec() -> None:
    evaluation = an_evaluation(observation=an_observation(lost_watches=LOST), violations=VIOLATIONS)

    assert decide(evaluation) == refuse(VIOLATIONS)


@pytest.mark.parametrize("observation", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_whose_release_it_is_comes_before_what_is_wrong_with_the_spec(observation: Observation) -> None:
    with_violations = an_evaluation(observation=observation, violations=VIOLATIONS)

    assert decide(with_violations) == decide(an_evaluation(observation=observation))
    assert decide(with_violations).action == Nothing()


def test_a_violation_is_reported_with_the_number_of_the_others() -> None:
    decision = decide(an_evaluation(violations=VIOLATIONS))

    assert decision == refuse(VIOLATIONS)
    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.MASK_CHANGED, True)
    assert decision.message == "spec.ipam.maskSize: cannot change (and 1 more, see condition Valid)"


def test_an_interrupted_helm_is_unlocked_although_the_spec_is_wrong() -> None:
    observation = STATES[ReleaseClass.OURS_PENDING]

    decision = decide(an_evaluation(observation=observation, violations=VIOLATIONS))

    assert decision.action == Unlock(1, a_record(unlocked=1))


def test_a_revision_is_unlocked_only_after_it_was_seen_unchanged() -> None:
    waits = an_evaluation(observation=STATES[ReleaseClass.OURS_PENDING], unlock_after=15.0)

    assert decide(waits).action == Nothing()
    assert isinstance(decide(changed(waits, newest_unchanged_for=15.0)).action, Unlock)


@pytest.mark.parametrize(
    ("spec", "has_finalizer", "action"),
    [
        pytest.param(a_spec(), False, Nothing(), id="Retain adds none"),
        pytest.param(a_spec(), True, RemoveFinalizer(), id="Retain removes it"),
        pytest.param(UNINSTALL, False, AddFinalizer(), id="Uninstall adds it"),
        pytest.param(UNINSTALL, True, Nothing(), id="Uninstall keeps it"),
    ],
)
def test_the_finalizer_exists_only_if_the_deletion_has_to_wait(spec: Spec, has_finalizer: bool, action: Action) -> None:
    observation = an_observation(SAME, record=a_record())

    assert decide(an_evaluation(spec, observation, has_finalizer=has_finalizer)).action == action


def test_an_invalid_spec_gets_the_finalizer_too() -> None:
    assert decide(an_evaluation(UNINSTALL, violations=VIOLATIONS)).action == AddFinalizer()


def test_the_finalizer_is_added_before_anything_is_installed() -> None:
    message = "adding the finalizer because spec.deletionPolicy is Uninstall"

    assert decide(an_evaluation(UNINSTALL)) == Decision(AddFinalizer(), Reason.ACCEPTED, message)


@pytest.mark.parametrize(
    ("before", "requested", "action"),
    [
        pytest.param("", "", Apply, id="no annotation"),
        pytest.param("", "now", WriteRecord, id="a first value"),
        pytest.param("now", "now", Apply, id="a value that was handled"),
        pytest.param("now", "again", WriteRecord, id="another value"),
        pytest.param("now", "", Apply, id="the annotation was removed"),
    ],
)
def test_each_value_of_the_annotation_acts_once(before: str, requested: str, action: type[Action]) -> None:
    observation = an_observation(OLD, record=a_record(handled=before))

    decision = decide(an_evaluation(observation=observation, requested=requested))

    assert isinstance(decision.action, action)


def test_the_annotation_is_handled_before_anything_is_installed() -> None:
    decision = decide(an_evaluation(requested="now"))

    assert isinstance(decision.action, WriteRecord)
    assert (decision.action.record.handled, decision.action.record.revision) == ("now", 0)


def test_the_annotation_resumes_from_exactly_the_present_foreign_revision() -> None:
    observation = STATES[ReleaseClass.FOREIGN_DEPLOYED]
    resumed = decide(an_evaluation(observation=observation, requested="now")).action
    assert isinstance(resumed, WriteRecord)
    assert (resumed.record.resumed, resumed.record.handled) == (2, "now")

    after = replace(observation, record=resumed.record)
    again = replace(after, revisions=(*after.revisions, a_foreign_revision(3)))

    assert isinstance(decide(an_evaluation(a_spec(), after, requested="now")).action, Apply)
    assert decide(an_evaluation(a_spec(), again, requested="now")).reason is Reason.FOREIGN_REVISION


def test_the_annotation_waits_for_a_foreign_operation_in_progress() -> None:
    observation = STATES[ReleaseClass.FOREIGN_PENDING]

    assert decide(an_evaluation(observation=observation, requested="now")).reason is Reason.RELEASE_LOCKED


@pytest.mark.parametrize(
    ("evaluation", "action"),
    [
        pytest.param(an_evaluation(UNINSTALL), AddFinalizer(), id="adding the finalizer"),
        pytest.param(an_evaluation(has_finalizer=True), RemoveFinalizer(), id="removing the finalizer"),
        pytest.param(an_evaluation(requested="x"), None, id="writing the record"),
        pytest.param(an_evaluation(), None, id="installing"),
    ],
)
def test_no_action_is_retried_before_its_backoff_is_over(evaluation: SpecEvaluation, action: Action | None) -> None:
    failure = Failure(Reason.API_UNAVAILABLE, "no answer", 2, NOW + timedelta(seconds=5))
    chosen = decide(evaluation)
    early = attempt(evaluation, chosen, failure)
    later = attempt(changed(evaluation, now=NOW + timedelta(seconds=5)), chosen, failure)

    assert (early.action, early.reason, early.stalled) == (Nothing(), Reason.API_UNAVAILABLE, False)
    assert early.message == "no answer (tried 2 times, next attempt at 12:00:05Z)"
    assert later.action == (action or chosen.action)


def test_a_final_failure_stops_only_what_would_fail_again() -> None:
    final = Failure(Reason.CHART_REFUSED, "wrong digest", 1, None)
    install, pending = an_evaluation(), an_evaluation(observation=STATES[ReleaseClass.OURS_PENDING])

    stopped = attempt(install, decide(install), final)
    assert (stopped.action, stopped.reason, stopped.stalled) == (Nothing(), Reason.CHART_REFUSED, True)
    assert stopped.message == "wrong digest"
    assert isinstance(attempt(pending, decide(pending), final).action, Unlock)


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        pytest.param(lambda: an_evaluation(generation=7), True, id="a new generation"),
        pytest.param(lambda: an_evaluation(a_spec(upgrade={"onFailure": "Pause"})), True, id="nothing of the release"),
        pytest.param(lambda: an_evaluation(a_spec(masquerade=False)), False, id="another value"),
        pytest.param(lambda: an_evaluation(a_spec(version="1.17.8-0")), False, id="another version"),
        pytest.param(
            lambda: an_evaluation(observation=an_observation(record=a_record(handled="now"))), False, id="a request"
        ),
    ],
)
def test_a_failed_attempt_is_known_by_its_input(edit: Callable[[], SpecEvaluation], same: bool) -> None:
    before, after = an_evaluation(), edit()

    assert (failure_key(before, decide(before).action) == failure_key(after, decide(after).action)) is same


def test_failures_of_different_actions_are_kept_apart() -> None:
    evaluation = an_evaluation()
    actions: list[Any] = [AddFinalizer(), RemoveFinalizer(), EndPreflight(), decide(evaluation).action]

    assert len({failure_key(evaluation, action) for action in actions}) == len(actions)


def test_a_failure_that_is_not_retried_names_no_next_attempt() -> None:
    assert Failure(Reason.CHART_REFUSED, "wrong digest", 1, None).with_next_attempt() == "wrong digest"


@settings(max_examples=300)
@given(evaluations())
def test_every_state_has_a_safe_decision(evaluation: SpecEvaluation) -> None:
    decision, observation = decide(evaluation), evaluation.observation
    action, newest = decision.action, observation.newest
    assert decision.message

    if isinstance(action, Apply | Rollback | StartPreflight | RestartAgents | Unlock):
        assert not evaluation.spec.suspend
        assert not observation.lost_watches
        assert evaluation.release not in {*LEFT_ALONE} or evaluation.record.resumed is not None
    if isinstance(action, Apply | StartPreflight):
        assert not evaluation.violations
        assert not evaluation.release.in_progress
    if isinstance(action, Apply):
        assert action.revision == (newest.number if newest else 0) + 1
        assert action.record is not None
        assert {str(cidr) for cidr in evaluation.spec.ipam.pod_cidrs} <= {*action.record.pod_cidrs}
    if isinstance(action, AddFinalizer | RemoveFinalizer):
        wanted = evaluation.spec.deletion_policy is DeletionPolicy.UNINSTALL
        assert isinstance(action, AddFinalizer) == wanted
    assert not isinstance(action, Uninstall)


@settings(max_examples=300)
@given(evaluations())
def test_the_record_is_written_once(evaluation: SpecEvaluation) -> None:
    decision = decide(evaluation)
    if isinstance(decision.action, WriteRecord):
        observation = replace(evaluation.observation, record=decision.action.record)
        has_finalizer, requested = evaluation.input.resource.has_finalizer, evaluation.input.resource.requested
        again = an_evaluation(
            evaluation.spec,
            observation,
            has_finalizer=has_finalizer,
            requested=requested,
            rollout=evaluation.rollout,
            upgrade_path=evaluation.upgrade_path,
        )

        assert decide(again).action != decision.action


def test_the_message_names_the_version() -> None:
    assert VERSION in decide(an_evaluation()).message
    assert decide(an_evaluation(SUSPENDED)).message.startswith("spec.suspend is true")
