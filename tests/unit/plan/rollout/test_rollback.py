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
    a_situation,
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

WANT = desired_release(a_spec(), an_observation())
GOOD = a_revision(1, status="superseded", values_digest=OTHER_DIGEST)
BAD = a_revision_of(WANT, 2)
REJECTED = Rejected(2, 7, spec_digest(WANT), "the new agent fails on a (Crash)")
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


def done(
    observation: Observation, rollout: RolloutPlan = NO_ROLLOUT, generation: int = 7, **more: Any
) -> tuple[Action, Reason, bool]:
    decision = decide(a_situation(observation=observation, rollout=rollout, generation=generation, **more))
    return decision.action, decision.reason, decision.stalled


def test_evidence_is_written_down_before_anything_is_undone() -> None:
    observation = after(GOOD, BAD, rejected=None)
    noted = replace(observation.record, rejected=REJECTED) if observation.record else None

    assert done(observation, FAILED) == (WriteRecord(noted), Reason.ROLLING_BACK, False)  # type: ignore[arg-type] # there is one


@pytest.mark.parametrize(
    ("observation", "spec", "words"),
    [
        pytest.param(
            after(GOOD, BAD, rejected=None), {"upgrade": {"onFailure": "Pause"}}, "onFailure says", id="paused"
        ),
        pytest.param(
            after(GOOD, BAD, rejected=None, verified=None), {}, "no good revision", id="nothing was ever good"
        ),
        pytest.param(after(BAD, rejected=None), {}, "no good revision", id="Helm has it no longer"),
    ],
)
def test_where_there_is_no_way_back_it_stands_still(observation: Observation, spec: dict[str, Any], words: str) -> None:
    decision = decide(a_situation(a_spec(**spec), observation, rollout=FAILED, generation=7))

    assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.ROLLOUT_STALLED, True)
    assert words in decision.message
    assert decision.message.startswith(REJECTED.message)


UNCLAIMED = replace(a_foreign_revision(3), copies=1)
BACK = replace(a_revision(3, values_digest=OTHER_DIGEST), copies=1)
BAD_BEFORE = replace(BAD, status="superseded")


@pytest.mark.parametrize(
    ("observation", "rollout", "expected"),
    [
        pytest.param(after(GOOD, BAD), FAILED, (Rollback(1, 3), Reason.ROLLING_BACK, False), id="go back"),
        pytest.param(
            after(GOOD, BAD, replace(UNCLAIMED, status="pending-rollback")),
            NO_ROLLOUT,
            (Unlock(3), Reason.ROLLING_BACK, False),
            id="Helm was killed",
        ),
        pytest.param(
            after(GOOD, BAD, replace(UNCLAIMED, status="failed")),
            NO_ROLLOUT,
            (Rollback(1, 4), Reason.ROLLING_BACK, False),
            id="and again",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, UNCLAIMED),
            NO_ROLLOUT,
            (LabelRollback(3), Reason.ROLLING_BACK, False),
            id="say whose it is",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, a_foreign_revision(3)),
            NO_ROLLOUT,
            (Nothing(), Reason.FOREIGN_REVISION, True),
            id="somebody else was there before",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, BACK),
            RolloutPlan(RolloutStep.RESTART, "x", ("cilium-a",)),
            (RestartAgents(("cilium-a",)), Reason.ROLLING_BACK, False),
            id="the agents that were moved",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, BACK),
            RolloutPlan(RolloutStep.WAIT, "x"),
            (Nothing(), Reason.ROLLING_BACK, False),
            id="they are waited for",
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, BACK), NO_ROLLOUT, (Nothing(), Reason.ROLLED_BACK, True), id="and no second try"
        ),
        pytest.param(
            after(GOOD, BAD_BEFORE, BACK, healthy=True, verified=3),
            NO_ROLLOUT,
            (Nothing(), Reason.ROLLED_BACK, True),
            id="well",
        ),
    ],
)
def test_the_way_back(observation: Observation, rollout: RolloutPlan, expected: tuple[Action, Reason, bool]) -> None:
    assert done(observation, rollout) == expected


def test_what_was_gone_back_to_is_the_good_one_from_then_on() -> None:
    observation = after(GOOD, BAD_BEFORE, BACK, healthy=True)
    action, reason, _ = done(observation)

    assert reason is Reason.ROLLED_BACK
    assert isinstance(action, WriteRecord)
    assert (action.record.verified, action.record.rejected) == (3, REJECTED)


def test_the_message_names_the_nodes_and_both_revisions() -> None:
    decision = decide(a_situation(observation=after(GOOD, BAD_BEFORE, BACK), generation=7))

    assert decision.message == (
        "the new agent fails on a (Crash); revision 3 restored what ran before, and this is not tried again: "
        "change the spec"
    )


def test_what_was_gone_back_to_is_claimed_whatever_the_spec_asks_for_meanwhile() -> None:
    observation = after(GOOD, BAD_BEFORE, UNCLAIMED)

    assert done(observation, generation=8)[0] == LabelRollback(3)
    assert done(replace(observation, record=a_record()), generation=8)[1] is Reason.FOREIGN_REVISION
    assert done(after(GOOD, BAD_BEFORE, replace(UNCLAIMED, copies=2)), generation=8)[1] is Reason.FOREIGN_REVISION


def test_another_generation_or_another_wish_is_tried() -> None:
    observation = after(GOOD, BAD_BEFORE, BACK)
    other = a_spec(values={"debug": {"enabled": True}})

    assert done(observation, generation=8)[1] is Reason.CONFIGURING
    assert done(observation, spec=other)[1] is Reason.CONFIGURING
    assert done(observation)[1] is Reason.ROLLED_BACK
