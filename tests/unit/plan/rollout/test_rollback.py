from dataclasses import replace
from typing import Any

import pytest

from builders import (
    DIGEST,
    OTHER_DIGEST,
    a_foreign_revision,
    a_node,
    a_record,
    a_revision,
    a_revision_of,
    a_spec,
    an_agent,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import Action, LabelRollback, Nothing, RestartAgents, Rollback, Unlock, WriteRecord
from cilium_hybrid.plan.decide import decide
from cilium_hybrid.plan.observation import AgentSet, Observation, Rejected, Revision
from cilium_hybrid.plan.release import desired_release, spec_digest
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, RolloutPlan, RolloutStep
from evaluations import an_evaluation

DESIRED = desired_release(a_spec(), an_observation())
GOOD = a_revision(1, status="superseded", values_digest=OTHER_DIGEST)
BAD = a_revision_of(DESIRED, 2)
REJECTED = Rejected(2, 7, spec_digest(DESIRED), "the new agent fails on a (Crash)")
RECORD = a_record(revision=2)
PAUSE = {"upgrade": {"onFailure": "Pause"}}
FAILED = RolloutPlan(RolloutStep.FAILED, REJECTED.message)


def after(
    *revisions: Revision, rejected: Rejected | None = REJECTED, verified: int | None = 1, healthy: bool = False
) -> Observation:
    record = replace(a_record(revision=2), verified=verified, rejected=rejected)
    agents = [an_agent(config_digest=DIGEST, ready=healthy)]
    run = AgentSet(DIGEST, observed=True)
    return an_observation(*revisions, record=record, nodes=[a_node()], agents=agents, agent_set=run)


def decision_of(
    observation: Observation, rollout: RolloutPlan = NO_ROLLOUT, generation: int = 7, **more: Any
) -> tuple[Action, Reason, bool]:
    decision = decide(an_evaluation(observation=observation, rollout=rollout, generation=generation, **more))
    return decision.action, decision.reason, decision.stalled


def test_the_failure_is_recorded_before_the_rollback() -> None:
    observation = after(GOOD, BAD, rejected=None)
    rejected = replace(observation.record, rejected=REJECTED) if observation.record else None

    assert decision_of(observation, FAILED) == (WriteRecord(rejected), Reason.ROLLING_BACK, False)  # type: ignore[arg-type] # there is one


@pytest.mark.parametrize(
    ("observation", "spec", "words"),
    [
        pytest.param(
            after(GOOD, BAD, rejected=None),
            {"upgrade": {"onFailure": "Pause"}},
            "spec.upgrade.onFailure is Pause",
            id="spec.upgrade.onFailure is Pause",
        ),
        pytest.param(
            after(GOOD, BAD, rejected=None, verified=None),
            {},
            "no verified revision",
            id="no revision was ever verified",
        ),
        pytest.param(
            after(BAD, rejected=None),
            {},
            "no verified revision",
            id="Helm does not have the verified revision any more",
        ),
    ],
)
def test_without_a_verified_revision_the_rollout_stops(
    observation: Observation, spec: dict[str, Any], words: str
) -> None:
    decision = decide(an_evaluation(a_spec(**spec), observation, rollout=FAILED, generation=7))

    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.ROLLOUT_STALLED, True)
    assert words in decision.message
    assert decision.message.startswith(REJECTED.message)


UNLABELED = replace(a_foreign_revision(3), rolled_back_to=1)
ROLLED_BACK = replace(a_revision(3, values_digest=OTHER_DIGEST), rolled_back_to=1)
BAD_BEFORE = replace(BAD, status="superseded")


@pytest.mark.parametrize(
    ("observation", "rollout", "expected"),
    [
        pytest.param(after(GOOD, BAD), FAILED, (Rollback(1, 3), Reason.ROLLING_BACK, False), id="roll back"),
        pytest.param(
            after(GOOD, BAD, replace(UNLABELED, status="pending-rollback")),
            NO_ROLLOUT,
            (Unlock(3), Reason.ROLLING_BACK, False),
            id="Helm was interrupted",
        ),
        pytest.param(
            after(GOOD, BAD, replace(UNLABELED, status="failed")),
            NO_ROLLOUT,
            (Rollback(1, 4), Reason.ROLLING_BACK, False),
            id="Helm failed",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, UNLABELED),
            NO_ROLLOUT,
            (LabelRollback(3), Reason.ROLLING_BACK, False),
            id="label the new revision",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, a_foreign_revision(3)),
            NO_ROLLOUT,
            (Nothing(), Reason.FOREIGN_REVISION, True),
            id="someone else made a revision first",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, ROLLED_BACK),
            RolloutPlan(RolloutStep.RESTART, "x", ("cilium-a",)),
            (RestartAgents(("cilium-a",)), Reason.ROLLING_BACK, False),
            id="restart the agents that were updated",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, ROLLED_BACK),
            RolloutPlan(RolloutStep.WAIT, "x"),
            (Nothing(), Reason.ROLLING_BACK, False),
            id="wait for the agents",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, ROLLED_BACK),
            NO_ROLLOUT,
            (Nothing(), Reason.ROLLED_BACK, True),
            id="no second attempt",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, ROLLED_BACK, healthy=True, verified=3),
            NO_ROLLOUT,
            (Nothing(), Reason.ROLLED_BACK, True),
            id="verified",
        ),
    ],
)
def test_the_steps_of_a_rollback(
    observation: Observation, rollout: RolloutPlan, expected: tuple[Action, Reason, bool]
) -> None:
    assert decision_of(observation, rollout) == expected


def test_the_restored_revision_is_recorded_as_verified() -> None:
    observation = after(GOOD, BAD_BEFORE, ROLLED_BACK, healthy=True)
    action, reason, _ = decision_of(observation)

    assert reason is Reason.ROLLED_BACK
    assert isinstance(action, WriteRecord)
    assert (action.record.verified, action.record.rejected) == (3, REJECTED)


def test_the_message_names_the_nodes_and_the_restored_revision() -> None:
    decision = decide(an_evaluation(observation=after(GOOD, BAD_BEFORE, ROLLED_BACK), generation=7))

    assert decision.message == (
        "the new agent fails on a (Crash); revision 3 restored the previous release, and the change is not retried; "
        "change the spec"
    )


def test_the_restored_revision_is_labeled_even_if_the_spec_has_changed() -> None:
    observation = after(GOOD, BAD_BEFORE, UNLABELED)

    assert decision_of(observation, generation=8)[0] == LabelRollback(3)
    assert decision_of(replace(observation, record=a_record()), generation=8)[1] is Reason.FOREIGN_REVISION
    assert (
        decision_of(after(GOOD, BAD_BEFORE, replace(UNLABELED, rolled_back_to=2)), generation=8)[1]
        is Reason.FOREIGN_REVISION
    )


def test_another_generation_or_another_release_is_tried() -> None:
    observation = after(GOOD, BAD_BEFORE, ROLLED_BACK)
    other = a_spec(values={"debug": {"enabled": True}})

    assert decision_of(observation, generation=8)[1] is Reason.CONFIGURING
    assert decision_of(observation, spec=other)[1] is Reason.CONFIGURING
    assert decision_of(observation)[1] is Reason.ROLLED_BACK
