"""New work: which revision comes next on the way to what the spec asks for, and what it waits for."""

from dataclasses import replace
from typing import Any

import pytest

from builders import (
    NODE,
    OTHER_DIGEST,
    REF,
    VERSION,
    a_cilium_node,
    a_node,
    a_preflight_status,
    a_revision,
    a_spec,
    a_step_of,
    an_agent,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.plan.actions import Action, Apply, Decision, ListVersions, Nothing, StartPreflight
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.new_work import decide_new_work
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.record import Rejected, RestartedNode, RolloutRecord
from cilium_hybrid.plan.release import release_digest
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutPlan, RolloutStep
from cilium_hybrid.plan.upgrade.gates import PreflightCheck, preflight_digest
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from evaluations import an_evaluation
from unit.upgrading import LAST, NEXT, PATCH, UP, cluster, facing, recorded

DOWN = a_spec(version="1.16.19-1")
EDITED = a_spec(version=LAST, masquerade=False)
WAITING = RolloutPlan(RolloutStep.WAIT, "waiting for a")
STALLED = RolloutPlan(RolloutStep.STALLED, "a lost contact after its restart")
SOAKING = RolloutPlan(RolloutStep.DONE, record=RolloutRecord("sha256:x", steady_for=5.0))
LAST_NODE = RestartedNode("pod", "node", "boot", "", "", "", healthy=True, ready_for=1.0)
SETTLING = RolloutPlan(RolloutStep.DONE, record=RolloutRecord("sha256:x", nodes={"mi-1": LAST_NODE}))
AFTER_PATCH = cluster(VERSION, PATCH)


def outcome(evaluation: SpecEvaluation) -> tuple[Action, Reason, bool]:
    decision = decide_new_work(evaluation)
    return decision.action, decision.reason, decision.stalled


def passed(evaluation: SpecEvaluation) -> SpecEvaluation:
    """The same evaluation after the preflight check of the next version has passed."""
    desired = evaluation.upgrade_path.next
    digest = preflight_digest(evaluation.spec, desired, evaluation.record.handled)
    return replace(evaluation, preflight=PreflightCheck(a_preflight_status(desired.chart_version, digest=digest)))


def applies(evaluation: SpecEvaluation) -> str:
    """The version that is applied next once its preflight check has passed."""
    action = decide_new_work(passed(evaluation)).action
    assert isinstance(action, Apply), decide_new_work(passed(evaluation))
    return action.desired_release.chart_version


@pytest.mark.parametrize(
    ("observation", "spec", "message"),
    [
        pytest.param(cluster(VERSION), UP, "deploying Cilium 1.17.15-1, step 1 of 3", id="the first of three"),
        pytest.param(cluster(VERSION), a_spec(version=PATCH), "deploying Cilium 1.17.15-1", id="a single step"),
        pytest.param(cluster(DOWN.version, VERSION), DOWN, "deploying Cilium 1.16.19-1", id="a minor down"),
    ],
)
def test_the_next_step_is_applied_after_its_preflight_check(observation: Observation, spec: Spec, message: str) -> None:
    evaluation = facing(observation, spec)

    assert isinstance(decide_new_work(evaluation).action, StartPreflight)
    decision = decide_new_work(passed(evaluation))
    assert (decision.message, decision.reason) == (message, Reason.UPGRADING)
    assert isinstance(decision.action, Apply)
    assert decision.action.revision == len(observation.revisions) + 1
    assert decision.action.spec_digest == release_digest(evaluation.upgrade_path.next)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({"rollout": WAITING}, (Nothing(), Reason.ROLLING_OUT, False), id="agents are being restarted"),
        pytest.param(
            {"rollout": STALLED, "verified": None},
            (Nothing(), Reason.ROLLOUT_STALLED, True),
            id="the rollout has stopped",
        ),
        pytest.param(
            {"rollout": SOAKING, "verified": None}, (Nothing(), Reason.ROLLING_OUT, False), id="not verified yet"
        ),
        pytest.param(
            {"rollout": SETTLING, "verified": None},
            (Nothing(), Reason.ROLLING_OUT, False),
            id="the last node has not settled",
        ),
        pytest.param({"verified": None}, (Nothing(), Reason.ROLLOUT_STALLED, True), id="over, and not verified"),
        pytest.param({"verified": 1}, (Nothing(), Reason.ROLLOUT_STALLED, True), id="only an earlier one is verified"),
        pytest.param(
            {"verified": None, "connected": False},
            (Nothing(), Reason.NODES_DISCONNECTED, False),
            id="all nodes are disconnected",
        ),
        pytest.param({"rebuilt": True}, (Nothing(), Reason.ROLLOUT_STALLED, True), id="the record was lost"),
    ],
)
def test_no_minor_is_entered_before_the_present_revision_is_verified(
    more: dict[str, Any], expected: tuple[Action, Reason, bool]
) -> None:
    rollout = more.pop("rollout", NO_ROLLOUT)
    record = replace(recorded(verified=more.pop("verified", 2)), rebuilt=more.pop("rebuilt", False))
    observation = cluster(VERSION, PATCH, record=record, **more)

    assert outcome(facing(observation, rollout=rollout)) == expected


@pytest.mark.parametrize("strategy", ["Gated", "RollingUpdate"])
def test_a_minor_is_entered_from_a_verified_revision(strategy: str) -> None:
    spec = a_spec(version=LAST, upgrade={"rollout": {"strategy": strategy}})

    assert applies(facing(cluster(VERSION, PATCH, spec=spec), spec)) == NEXT


def test_without_any_node_there_is_nothing_to_verify() -> None:
    empty = replace(cluster(VERSION, PATCH, record=recorded(verified=None)), nodes={}, agents={})
    with_block = replace(empty, cilium_nodes={"mi-9": a_cilium_node("mi-9")})

    assert applies(facing(empty)) == NEXT
    assert decide_new_work(facing(with_block)).action == Nothing()


@pytest.mark.parametrize("rollout", [WAITING, STALLED], ids=["waiting", "stalled"])
@pytest.mark.parametrize(
    ("spec", "observation"),
    [
        pytest.param(UP, cluster(VERSION), id="the newest patch"),
        pytest.param(a_spec(version="1.17.9-1"), cluster(VERSION), id="another build"),
        pytest.param(a_spec(version="1.17.8-0"), cluster(VERSION), id="a patch down"),
        pytest.param(DOWN, cluster(DOWN.version, VERSION), id="a minor down"),
        pytest.param(a_spec(masquerade=False), cluster(VERSION, spec=a_spec()), id="a configuration"),
    ],
)
def test_a_change_that_may_repair_the_agents_does_not_wait_for_them(
    spec: Spec, observation: Observation, rollout: RolloutPlan
) -> None:
    assert applies(facing(observation, spec, rollout=rollout)) in {PATCH, spec.version}


def test_a_changed_spec_replaces_a_stalled_release_before_a_minor_is_entered() -> None:
    unverified = replace(AFTER_PATCH, record=recorded(verified=1))

    assert applies(facing(unverified, EDITED, rollout=STALLED)) == PATCH


def test_a_failed_revision_says_nothing_about_the_agents_so_the_present_version_comes_first() -> None:
    failed = a_revision(3, status="failed", version=PATCH, values_digest=OTHER_DIGEST)
    observation = replace(AFTER_PATCH, revisions=(*AFTER_PATCH.revisions, failed))

    assert applies(facing(observation)) == PATCH


def test_a_failed_minor_is_applied_again() -> None:
    failed = replace(a_step_of(UP, NEXT, 3), status="failed")
    observation = replace(AFTER_PATCH, revisions=(*AFTER_PATCH.revisions, failed))

    assert applies(facing(observation)) == NEXT


def test_nothing_older_than_what_an_agent_runs_is_applied() -> None:
    failed = a_revision(3, status="failed", version=PATCH, values_digest=OTHER_DIGEST)
    observation = replace(
        AFTER_PATCH, revisions=(*AFTER_PATCH.revisions, failed), agents={NODE: an_agent(version="1.18.8")}
    )

    assert applies(facing(observation)) == NEXT


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        pytest.param("1.17.9", None, id="one minor ahead, and the older one ran here"),
        pytest.param("1.18.8", Reason.VERSION_SKIPPED, id="two minors ahead"),
    ],
)
def test_an_older_minor_than_an_agent_runs_needs_a_step_that_the_rules_allow(
    agent: str, expected: Reason | None
) -> None:
    spec = a_spec(version=DOWN.version, masquerade=False)
    observation = replace(cluster(DOWN.version, spec=DOWN), agents={NODE: an_agent(version=agent)})
    decision = decide_new_work(facing(observation, spec))

    assert isinstance(decision.action, Apply) == (expected is None)
    assert expected is None or (decision.reason, decision.stalled) == (expected, True)


def rejected(observation: Observation, spec: Spec, revision: int = 2) -> Observation:
    digest = release_digest(facing(observation, spec).upgrade_path.next)
    failed = Rejected(revision, digest, "the new agent fails on a (exit code 1)")
    assert observation.record is not None
    return replace(observation, record=replace(observation.record, rejected=failed))


def test_a_rejected_release_is_not_applied_again_and_the_message_says_how_to_retry() -> None:
    spec = a_spec(masquerade=False)
    observation = cluster(VERSION, VERSION, VERSION, spec=a_spec())
    restored = replace(observation.revisions[-1], rolled_back_to=1)
    observation = rejected(replace(observation, revisions=(*observation.revisions[:-1], restored)), spec)

    decision = decide_new_work(facing(observation, spec))

    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.ROLLED_BACK, True)
    assert decision.message.startswith("the new agent fails on a (exit code 1); revision 3 restored")
    assert decision.message.endswith("set annotation ciliumhybrid.io/reconcile to a new value to retry")
    assert isinstance(
        decide_new_work(facing(observation, a_spec(masquerade=False, registryMirror="a.b/c"))).action, Apply
    )


def test_a_rejected_release_that_is_not_undone_says_why() -> None:
    spec = a_spec(masquerade=False, upgrade={"onFailure": "Pause"})
    revisions = (a_step_of(spec, VERSION, 1, status="superseded"), a_step_of(spec, VERSION, 2))
    observation = rejected(replace(cluster(VERSION, spec=spec), revisions=revisions), spec)

    decision = decide_new_work(facing(observation, spec))

    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.ROLLOUT_STALLED, True)
    assert "spec.upgrade.onFailure is Pause" in decision.message


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        (NO_ROLLOUT, (Nothing(), Reason.IN_SYNC, False)),
        (WAITING, (Nothing(), Reason.ROLLING_OUT, False)),
        (STALLED, (Nothing(), Reason.ROLLOUT_STALLED, True)),
    ],
    ids=["done", "waiting", "stalled"],
)
def test_what_a_release_in_sync_still_waits_for(rollout: RolloutPlan, expected: tuple[Action, Reason, bool]) -> None:
    assert outcome(facing(cluster(VERSION, spec=a_spec()), a_spec(), rollout=rollout)) == expected


def test_a_revision_that_was_unlocked_and_is_deployed_after_all_is_applied_again() -> None:
    observation = cluster(VERSION, spec=a_spec(), record=replace(recorded(VERSION, 1, 1), unlocked=1))

    assert applies(facing(observation, a_spec())) == VERSION


@pytest.mark.parametrize("spec", [a_spec(version=PATCH), a_spec(version=LAST)], ids=["the target", "a minor above"])
def test_a_revision_that_an_interrupted_helm_has_superseded_is_applied_again(spec: Spec) -> None:
    """A frozen machine may resume with its Helm, which then finishes an older revision."""
    observation = cluster(VERSION, PATCH, spec=spec)
    older, newest = observation.revisions
    revisions = (replace(older, status="deployed"), replace(newest, status="superseded"))
    evaluation = facing(replace(observation, revisions=revisions), spec, rollout=SETTLING)

    assert applies(evaluation) == PATCH


@pytest.mark.parametrize(
    ("rollout", "action", "reason"),
    [
        (NO_ROLLOUT, ListVersions(REF), Reason.UPGRADING),
        (STALLED, ListVersions(REF), Reason.UPGRADING),
        (WAITING, Nothing(), Reason.ROLLING_OUT),
    ],
    ids=["at once", "despite a stalled rollout", "after a rollout"],
)
def test_the_versions_of_the_registry_are_listed_to_plan_the_path(
    rollout: RolloutPlan, action: Action, reason: Reason
) -> None:
    observation = cluster(VERSION)
    upgrade_path = find_upgrade_path(UP, observation, Status())
    evaluation = an_evaluation(UP, observation, upgrade_path=upgrade_path, rollout=rollout)

    assert outcome(evaluation) == (action, reason, False)


def test_versions_are_listed_although_the_rollout_of_a_rejected_revision_waits() -> None:
    """It is not continued, so it would be waited for without an end."""
    observation = rejected(cluster(VERSION, spec=UP), UP, revision=1)
    upgrade_path = find_upgrade_path(UP, observation, Status())
    evaluation = an_evaluation(UP, observation, upgrade_path=upgrade_path, rollout=WAITING)

    assert outcome(evaluation) == (ListVersions(REF), Reason.UPGRADING, False)


def test_an_install_waits_for_a_namespace_of_the_previous_installation() -> None:
    observation = replace(cluster(VERSION), revisions=(), secrets_namespace_terminating=True)
    decision: Decision = decide_new_work(an_evaluation(observation=observation))

    assert (decision.action, decision.reason) == (Nothing(), Reason.INSTALLING)


def test_the_pools_of_the_spec_are_recorded_before_helm_is_called() -> None:
    spec = a_spec(pod_cidrs=["10.85.0.0/16", "10.86.0.0/16"])
    observation = replace(cluster(VERSION, spec=a_spec()), nodes={NODE: a_node()})
    action = decide_new_work(facing(observation, spec)).action

    assert isinstance(action, Apply)
    assert action.record is not None
    assert action.record.pod_cidrs == ("10.85.0.0/16", "10.86.0.0/16")
