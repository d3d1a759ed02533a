"""Decisions during an upgrade: the order of its steps, and what each step waits for."""

from dataclasses import replace
from typing import Any

import pytest

from builders import (
    NODE,
    OTHER_DIGEST,
    REF,
    VERSION,
    a_foreign_revision,
    a_preflight_status,
    a_revision,
    a_spec,
    a_step_of,
    an_agent,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    ListVersions,
    Nothing,
    RestartAgents,
    StartPreflight,
    WriteRecord,
)
from cilium_hybrid.plan.decide import decide
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.observation import Observation, Rejected, Revision
from cilium_hybrid.plan.release import spec_digest
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, RolloutPlan, RolloutStep
from cilium_hybrid.plan.upgrade.gates import PreflightCheck
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.plan.upgrade.preflight import preflight_values
from evaluations import an_evaluation
from unit.upgrading import LAST, NEXT, PATCH, UP, cluster, config_digest_of, facing, recorded

DOWN = a_spec(version="1.16.19-1")
EDITED = a_spec(version=LAST, masquerade=False)
BY_THE_DAEMONSET = a_spec(version=LAST, upgrade={"rollout": {"strategy": "RollingUpdate"}})
PAUSES = a_spec(version=LAST, upgrade={"onFailure": "Pause"})
RESTARTING = RolloutPlan(RolloutStep.RESTART, "restarting a", ("cilium-a",))
WAITING = RolloutPlan(RolloutStep.WAIT, "waiting for a")
STALLED = RolloutPlan(RolloutStep.STALLED, "no progress")
FAILED = RolloutPlan(RolloutStep.FAILED, "the new agent fails on a (Crash)")


def outcome(evaluation: SpecEvaluation) -> tuple[Action, Reason, bool]:
    decision = decide(evaluation)
    return decision.action, decision.reason, decision.stalled


def starts_next_step(evaluation: SpecEvaluation) -> bool:
    """Whether the next step starts, which it does with its preflight check."""
    expected = StartPreflight(evaluation.upgrade_path.next, preflight_values(evaluation.spec))
    return decide(evaluation).action == expected


AFTER_PATCH = cluster(VERSION, PATCH, run=config_digest_of(UP, PATCH))


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        pytest.param(RESTARTING, (RestartAgents(("cilium-a",)), Reason.ROLLING_OUT, False), id="restarting agents"),
        pytest.param(WAITING, (Nothing(), Reason.ROLLING_OUT, False), id="waiting for agents"),
        pytest.param(STALLED, (Nothing(), Reason.ROLLOUT_STALLED, False), id="stalled"),
        pytest.param(
            FAILED,
            (
                WriteRecord(
                    replace(
                        recorded(),
                        rejected=Rejected(2, 0, spec_digest(facing(AFTER_PATCH).upgrade_path.target), FAILED.message),
                    )
                ),
                Reason.ROLLING_BACK,
                False,
            ),
            id="failed",
        ),
    ],
)
def test_the_next_minor_waits_for_the_rollout_of_the_previous_step(
    rollout: RolloutPlan, expected: tuple[Action, Reason, bool]
) -> None:
    assert outcome(facing(AFTER_PATCH, rollout=rollout)) == expected
    assert starts_next_step(facing(AFTER_PATCH))


def test_the_deployed_release_is_recorded_before_the_next_minor() -> None:
    observation = replace(AFTER_PATCH, record=recorded(VERSION, 1, None))

    assert outcome(facing(observation)) == (WriteRecord(recorded()), Reason.IN_SYNC, False)


@pytest.mark.parametrize(
    "rollout", [RESTARTING, WAITING, STALLED, FAILED], ids=[step.value for step in list(RolloutStep)[1:]]
)
@pytest.mark.parametrize(
    ("spec", "observation"),
    [
        pytest.param(UP, cluster(VERSION), id="the newest patch"),
        pytest.param(a_spec(version="1.17.9-1"), cluster(VERSION), id="another build"),
        pytest.param(a_spec(version="1.17.8-0"), cluster(VERSION), id="a patch down"),
        pytest.param(DOWN, cluster(DOWN.version, VERSION), id="a minor down"),
    ],
)
def test_a_change_that_may_repair_the_agents_does_not_wait_for_them(
    spec: Spec, observation: Observation, rollout: RolloutPlan
) -> None:
    assert starts_next_step(facing(observation, spec, rollout=rollout))


def test_a_configuration_change_does_not_wait_for_the_agents() -> None:
    spec = a_spec(masquerade=False)

    assert isinstance(decide(facing(cluster(VERSION, spec=a_spec()), spec, rollout=RESTARTING)).action, Apply)


@pytest.mark.parametrize(
    ("observation", "rollout", "expected"),
    [
        pytest.param(
            AFTER_PATCH, RESTARTING, (RestartAgents(("cilium-a",)), Reason.ROLLING_OUT, False), id="restarting agents"
        ),
        pytest.param(AFTER_PATCH, WAITING, (Nothing(), Reason.ROLLING_OUT, False), id="waiting for agents"),
        pytest.param(
            replace(AFTER_PATCH, record=recorded(verified=1)),
            NO_ROLLOUT,
            (WriteRecord(recorded()), Reason.IN_SYNC, False),
            id="agents are healthy, so the revision is recorded as verified",
        ),
    ],
)
def test_a_rollout_is_finished_even_if_the_spec_changes_meanwhile(
    observation: Observation, rollout: RolloutPlan, expected: tuple[Action, Reason, bool]
) -> None:
    assert outcome(facing(observation, EDITED, rollout=rollout)) == expected


def test_a_changed_spec_replaces_a_stalled_release() -> None:
    evaluation = facing(AFTER_PATCH, EDITED, rollout=STALLED)
    action = decide(evaluation).action

    assert isinstance(action, Apply)
    assert (action.desired_release, action.revision) == (evaluation.upgrade_path.current, 3)


@pytest.mark.parametrize(
    "observation",
    [
        pytest.param(AFTER_PATCH, id="verified"),
        pytest.param(replace(AFTER_PATCH, record=None), id="no record"),
        pytest.param(replace(AFTER_PATCH, record=recorded(verified=1), agents={}), id="no agents"),
    ],
)
def test_a_changed_spec_starts_its_first_step_after_the_rollout(observation: Observation) -> None:
    assert starts_next_step(facing(observation, EDITED))


@pytest.mark.parametrize(
    ("spec", "observation", "waits"),
    [
        pytest.param(UP, cluster(VERSION, PATCH, healthy=False), False, id="a gated rollout skipped an unhealthy node"),
        pytest.param(
            UP,
            cluster(VERSION, PATCH, healthy=False, record=recorded(verified=None)),
            False,
            id="no verified revision",
        ),
        pytest.param(
            UP,
            cluster(VERSION, NEXT, healthy=False, record=recorded(NEXT, 2, 1)),
            True,
            id="verified revision would be two minors behind",
        ),
        pytest.param(
            UP,
            cluster(VERSION, NEXT, healthy=False, connected=False, record=recorded(NEXT, 2, 1)),
            False,
            id="no node is connected",
        ),
        pytest.param(
            UP,
            cluster(PATCH, NEXT, record=recorded(NEXT, 2, 1), run=config_digest_of(UP, NEXT)),
            False,
            id="every node is healthy",
        ),
        pytest.param(BY_THE_DAEMONSET, cluster(VERSION, PATCH, healthy=False), True, id="RollingUpdate in progress"),
        pytest.param(
            BY_THE_DAEMONSET,
            cluster(VERSION, PATCH, healthy=False, connected=False),
            False,
            id="RollingUpdate without a connected node",
        ),
        pytest.param(BY_THE_DAEMONSET, cluster(VERSION, PATCH), False, id="RollingUpdate finished"),
    ],
)
def test_the_verified_revision_is_at_most_one_minor_behind(spec: Spec, observation: Observation, waits: bool) -> None:
    observation = replace(
        observation,
        revisions=tuple(a_step_of(spec, r.chart_version, r.number, status=r.status) for r in observation.revisions),
    )
    decision = decide(facing(observation, spec))

    if isinstance(decision.action, WriteRecord):
        decision = decide(facing(replace(observation, record=decision.action.record), spec))
    assert (decision.reason is Reason.ROLLING_OUT) == waits
    if waits:
        assert decision.action == Nothing()
        assert "to be healthy on every connected node before Cilium" in decision.message
    else:
        assert isinstance(decision.action, StartPreflight)


@pytest.mark.parametrize(
    "newest",
    [
        pytest.param(a_revision(3, status="failed", version=NEXT, values_digest=OTHER_DIGEST), id="failed"),
        pytest.param(a_foreign_revision(3), id="foreign"),
    ],
)
def test_no_agent_skips_a_minor_after_a_failed_or_foreign_revision(newest: Revision) -> None:
    """The revision was created while the previous step was still being rolled out."""
    before, behind = a_spec(version=NEXT), an_agent(config_digest=config_digest_of(UP, VERSION))
    observation = cluster(VERSION, NEXT, spec=before, record=recorded(NEXT, 2, 1), run=config_digest_of(UP, NEXT))
    observation = replace(observation, revisions=(*observation.revisions, newest), agents={NODE: behind})
    decision = decide(facing(observation, preflight=PreflightCheck(a_preflight_status(LAST))))

    assert isinstance(decision.action, Apply)
    assert decision.action.desired_release.chart_version == NEXT


LISTING = ListVersions(REF)


@pytest.mark.parametrize(
    ("more", "action", "reason"),
    [
        pytest.param({}, LISTING, Reason.UPGRADING, id="versions are listed"),
        pytest.param(
            {"rollout": STALLED}, LISTING, Reason.UPGRADING, id="versions are listed despite a stalled rollout"
        ),
        pytest.param(
            {"rollout": RESTARTING}, RestartAgents(("cilium-a",)), Reason.ROLLING_OUT, id="a rollout is finished first"
        ),
        pytest.param({"rollout": WAITING}, Nothing(), Reason.ROLLING_OUT, id="a rollout is waited for"),
        pytest.param(
            {"spec": a_spec(version=LAST, suspend=True)}, Nothing(), Reason.SUSPENDED, id="not while suspended"
        ),
        pytest.param(
            {"spec": a_spec(version=LAST, deletionPolicy="Uninstall")},
            AddFinalizer(),
            Reason.ACCEPTED,
            id="the finalizer is added first",
        ),
    ],
)
def test_the_versions_of_the_registry_are_listed_to_plan_the_path(
    more: dict[str, Any], action: Action, reason: Reason
) -> None:
    spec, observation = more.pop("spec", UP), cluster(VERSION)
    upgrade_path = find_upgrade_path(spec, observation, Status(), 0)
    decision = decide(an_evaluation(spec, observation, upgrade_path=upgrade_path, **more))

    assert (decision.action, decision.reason, decision.stalled) == (action, reason, False)


def test_failed_agents_are_rolled_back_before_the_versions_are_listed() -> None:
    observation = cluster(VERSION, PATCH, record=recorded(PATCH, 2, 1))
    upgrade_path = find_upgrade_path(UP, observation, Status(), 0)
    decision = decide(an_evaluation(UP, observation, upgrade_path=upgrade_path, rollout=FAILED))

    assert isinstance(decision.action, WriteRecord)
    assert decision.action.record.rejected == Rejected(2, 0, spec_digest(upgrade_path.target), FAILED.message)
    assert decision.reason is Reason.ROLLING_BACK


def test_with_on_failure_pause_a_failed_step_stops() -> None:
    observation = replace(
        AFTER_PATCH, revisions=tuple(a_step_of(PAUSES, r.chart_version, r.number) for r in AFTER_PATCH.revisions)
    )

    assert outcome(facing(observation, PAUSES, rollout=FAILED)) == (Nothing(), Reason.ROLLOUT_STALLED, True)
