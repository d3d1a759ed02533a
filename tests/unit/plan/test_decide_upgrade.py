"""What comes next where the version changes: the steps one after the other, and what each of them waits for."""

from dataclasses import replace
from typing import Any

import pytest

from builders import (
    NODE,
    OTHER_DIGEST,
    REF,
    VERSION,
    a_foreign_revision,
    a_revision,
    a_situation,
    a_spec,
    a_step_of,
    a_told,
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
from cilium_hybrid.plan.inputs import Situation
from cilium_hybrid.plan.observation import Observation, Rejected, Revision
from cilium_hybrid.plan.release import spec_digest
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, RolloutPlan, RolloutStep
from cilium_hybrid.plan.upgrade.gates import Checks
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.plan.upgrade.preflight import preflight_values
from unit.upgrading import LAST, NEXT, PATCH, UP, cluster, config_digest_of, facing, recorded

DOWN = a_spec(version="1.16.19-1")
EDITED = a_spec(version=LAST, masquerade=False)
BY_THE_DAEMONSET = a_spec(version=LAST, upgrade={"rollout": {"strategy": "RollingUpdate"}})
PAUSES = a_spec(version=LAST, upgrade={"onFailure": "Pause"})
MOVING = RolloutPlan(RolloutStep.RESTART, "one after the other", ("cilium-a",))
WAITING = RolloutPlan(RolloutStep.WAIT, "waiting for a")
STALLED = RolloutPlan(RolloutStep.STALLED, "no progress")
FAILED = RolloutPlan(RolloutStep.FAILED, "the new agent fails on a (Crash)")


def done(situation: Situation) -> tuple[Action, Reason, bool]:
    decision = decide(situation)
    return decision.action, decision.reason, decision.stalled


def starts(situation: Situation) -> bool:
    """Whether the next version is on its way: its preflight comes first."""
    expected = StartPreflight(situation.upgrade_path.next, preflight_values(situation.spec))
    return decide(situation).action == expected


AFTER_PATCH = cluster(VERSION, PATCH, run=config_digest_of(UP, PATCH))


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        pytest.param(MOVING, (RestartAgents(("cilium-a",)), Reason.ROLLING_OUT, False), id="agents are moved"),
        pytest.param(WAITING, (Nothing(), Reason.ROLLING_OUT, False), id="they are waited for"),
        pytest.param(STALLED, (Nothing(), Reason.ROLLOUT_STALLED, False), id="they do not get on"),
        pytest.param(
            FAILED,
            (
                WriteRecord(
                    replace(
                        recorded(),
                        rejected=Rejected(2, 0, spec_digest(facing(AFTER_PATCH).upgrade_path.goal), FAILED.message),
                    )
                ),
                Reason.ROLLING_BACK,
                False,
            ),
            id="they fail",
        ),
    ],
)
def test_a_minor_is_entered_once_the_step_before_is_rolled_out(
    rollout: RolloutPlan, expected: tuple[Action, Reason, bool]
) -> None:
    assert done(facing(AFTER_PATCH, rollout=rollout)) == expected
    assert starts(facing(AFTER_PATCH))


def test_what_runs_is_recorded_before_a_minor_is_entered() -> None:
    observation = replace(AFTER_PATCH, record=recorded(VERSION, 1, None))

    assert done(facing(observation)) == (WriteRecord(recorded()), Reason.IN_SYNC, False)


@pytest.mark.parametrize(
    "rollout", [MOVING, WAITING, STALLED, FAILED], ids=[step.value for step in list(RolloutStep)[1:]]
)
@pytest.mark.parametrize(
    ("spec", "observation"),
    [
        pytest.param(UP, cluster(VERSION), id="the newest patch"),
        pytest.param(a_spec(version="1.17.9-1"), cluster(VERSION), id="a build"),
        pytest.param(a_spec(version="1.17.8-0"), cluster(VERSION), id="a patch down"),
        pytest.param(DOWN, cluster(VERSION), id="a minor down"),
    ],
)
def test_what_may_repair_the_agents_does_not_wait_for_them(
    spec: Spec, observation: Observation, rollout: RolloutPlan
) -> None:
    assert starts(facing(observation, spec, rollout=rollout))


def test_a_configuration_does_not_wait_for_the_agents() -> None:
    spec = a_spec(masquerade=False)

    assert isinstance(decide(facing(cluster(VERSION, spec=a_spec()), spec, rollout=MOVING)).action, Apply)


@pytest.mark.parametrize(
    ("observation", "rollout", "expected"),
    [
        pytest.param(
            AFTER_PATCH, MOVING, (RestartAgents(("cilium-a",)), Reason.ROLLING_OUT, False), id="agents are moved"
        ),
        pytest.param(AFTER_PATCH, WAITING, (Nothing(), Reason.ROLLING_OUT, False), id="they are waited for"),
        pytest.param(
            replace(AFTER_PATCH, record=recorded(verified=1)),
            NO_ROLLOUT,
            (WriteRecord(recorded()), Reason.IN_SYNC, False),
            id="they run it well, which is remembered as good",
        ),
    ],
)
def test_what_was_released_is_brought_to_the_agents_though_the_spec_changed_meanwhile(
    observation: Observation, rollout: RolloutPlan, expected: tuple[Action, Reason, bool]
) -> None:
    assert done(facing(observation, EDITED, rollout=rollout)) == expected


def test_what_stands_still_is_released_as_the_spec_changed_it() -> None:
    situation = facing(AFTER_PATCH, EDITED, rollout=STALLED)
    action = decide(situation).action

    assert isinstance(action, Apply)
    assert (action.desired_release, action.revision) == (situation.upgrade_path.present, 3)


@pytest.mark.parametrize(
    "observation",
    [
        pytest.param(AFTER_PATCH, id="it is good"),
        pytest.param(replace(AFTER_PATCH, record=None), id="nothing is recorded"),
        pytest.param(replace(AFTER_PATCH, record=recorded(verified=1), agents={}), id="its agents are not well"),
    ],
)
def test_and_then_the_changed_spec_goes_its_way(observation: Observation) -> None:
    assert starts(facing(observation, EDITED))


@pytest.mark.parametrize(
    ("spec", "observation", "waits"),
    [
        pytest.param(UP, cluster(VERSION, PATCH, healthy=False), False, id="a gated rollout left out a broken node"),
        pytest.param(
            UP,
            cluster(VERSION, PATCH, healthy=False, record=recorded(verified=None)),
            False,
            id="there was never a good one to fall behind",
        ),
        pytest.param(
            UP,
            cluster(VERSION, NEXT, healthy=False, record=recorded(NEXT, 2, 1)),
            True,
            id="the good one is two behind",
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
            id="every node runs it well",
        ),
        pytest.param(BY_THE_DAEMONSET, cluster(VERSION, PATCH, healthy=False), True, id="the DaemonSet is at work"),
        pytest.param(
            BY_THE_DAEMONSET, cluster(VERSION, PATCH, healthy=False, connected=False), False, id="on no connected node"
        ),
        pytest.param(BY_THE_DAEMONSET, cluster(VERSION, PATCH), False, id="the DaemonSet did its work"),
    ],
)
def test_the_last_good_revision_falls_no_minor_behind(spec: Spec, observation: Observation, waits: bool) -> None:
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
        assert "is not well on every connected node yet" in decision.message
    else:
        assert isinstance(decision.action, StartPreflight)


@pytest.mark.parametrize(
    "newest",
    [
        pytest.param(a_revision(3, status="failed", version=NEXT, values_digest=OTHER_DIGEST), id="one that failed"),
        pytest.param(a_foreign_revision(3), id="somebody else's"),
    ],
)
def test_no_agent_skips_a_minor_over_a_revision_that_is_no_step(newest: Revision) -> None:
    """The rollout of the step before was not over when it was made."""
    before, behind = a_spec(version=NEXT), an_agent(config_digest=config_digest_of(UP, VERSION))
    observation = cluster(VERSION, NEXT, spec=before, record=recorded(NEXT, 2, 1), run=config_digest_of(UP, NEXT))
    observation = replace(observation, revisions=(*observation.revisions, newest), agents={NODE: behind})
    decision = decide(facing(observation, checks=Checks(a_told(LAST))))

    assert isinstance(decision.action, Apply)
    assert decision.action.desired_release.chart_version == NEXT


ASKED = ListVersions(REF)


@pytest.mark.parametrize(
    ("more", "action", "reason"),
    [
        pytest.param({}, ASKED, Reason.UPGRADING, id="the registry is asked"),
        pytest.param({"rollout": STALLED}, ASKED, Reason.UPGRADING, id="though a rollout does not get on"),
        pytest.param(
            {"rollout": MOVING}, RestartAgents(("cilium-a",)), Reason.ROLLING_OUT, id="a rollout is finished first"
        ),
        pytest.param({"rollout": WAITING}, Nothing(), Reason.ROLLING_OUT, id="and waited for"),
        pytest.param({"spec": a_spec(version=LAST, suspend=True)}, Nothing(), Reason.SUSPENDED, id="not suspended"),
        pytest.param(
            {"spec": a_spec(version=LAST, deletionPolicy="Uninstall")},
            AddFinalizer(),
            Reason.ACCEPTED,
            id="has_finalizer",
        ),
    ],
)
def test_the_registry_is_asked_for_the_way(more: dict[str, Any], action: Action, reason: Reason) -> None:
    spec, observation = more.pop("spec", UP), cluster(VERSION)
    upgrade_path = find_upgrade_path(spec, observation, Status(), 0)
    decision = decide(a_situation(spec, observation, upgrade_path=upgrade_path, **more))

    assert (decision.action, decision.reason, decision.stalled) == (action, reason, False)


def test_agents_that_fail_are_taken_back_before_the_registry_is_asked() -> None:
    observation = cluster(VERSION, PATCH, record=recorded(PATCH, 2, 1))
    upgrade_path = find_upgrade_path(UP, observation, Status(), 0)
    decision = decide(a_situation(UP, observation, upgrade_path=upgrade_path, rollout=FAILED))

    assert isinstance(decision.action, WriteRecord)
    assert decision.action.record.rejected == Rejected(2, 0, spec_digest(upgrade_path.goal), FAILED.message)
    assert decision.reason is Reason.ROLLING_BACK


def test_where_it_pauses_on_failure_the_step_stands_still() -> None:
    observation = replace(
        AFTER_PATCH, revisions=tuple(a_step_of(PAUSES, r.chart_version, r.number) for r in AFTER_PATCH.revisions)
    )

    assert done(facing(observation, PAUSES, rollout=FAILED)) == (Nothing(), Reason.ROLLOUT_STALLED, True)
