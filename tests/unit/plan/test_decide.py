from datetime import timedelta
from typing import Any

import pytest

from builders import (
    NOW,
    OTHER_DIGEST,
    REF,
    VERSION,
    a_foreign_revision,
    a_record,
    a_revision,
    a_revision_of,
    a_spec,
    an_apply,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import Action, Nothing, RestartAgents, Unlock, WriteRecord
from cilium_hybrid.plan.decide import decide
from cilium_hybrid.plan.inputs import Failure
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import desired_release
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, RolloutPlan, RolloutStep
from evaluations import an_evaluation

DESIRED = desired_release(a_spec(), an_observation())
CHANGED = a_spec(masquerade=False)
SAME = a_revision_of(DESIRED)
OLD = a_revision(values_digest=OTHER_DIGEST)
RETRIED_IN_5_S = Failure(Reason.CHART_UNAVAILABLE, "the registry is unavailable", 1, NOW + timedelta(seconds=5))
NOT_RETRIED = Failure(Reason.CHART_REFUSED, "wrong digest", 1, None)


@pytest.mark.parametrize(
    ("observation", "more", "action", "reason", "stalled"),
    [
        pytest.param(an_observation(), {}, an_apply(DESIRED, 1), Reason.INSTALLING, False, id="nothing is installed"),
        pytest.param(
            an_observation(secrets_namespace_terminating=True),
            {},
            Nothing(),
            Reason.INSTALLING,
            False,
            id="a namespace of the previous installation is terminating",
        ),
        pytest.param(
            an_observation(a_revision(3, status="uninstalled")),
            {},
            an_apply(DESIRED, 4),
            Reason.INSTALLING,
            False,
            id="uninstalled with its history kept",
        ),
        pytest.param(
            an_observation(a_foreign_revision()),
            {},
            Nothing(),
            Reason.RELEASE_NOT_OWNED,
            True,
            id="a foreign release",
        ),
        pytest.param(
            an_observation(a_foreign_revision()),
            {"spec": CHANGED},
            Nothing(),
            Reason.RELEASE_NOT_OWNED,
            True,
            id="a changed spec does not take over a foreign release",
        ),
        pytest.param(
            an_observation(SAME, a_foreign_revision(2)),
            {},
            Nothing(),
            Reason.FOREIGN_REVISION,
            True,
            id="a foreign revision of the managed release",
        ),
        pytest.param(
            an_observation(SAME, a_foreign_revision(2)),
            {"spec": CHANGED},
            an_apply(desired_release(CHANGED, an_observation()), 3, 2),
            Reason.CONFIGURING,
            False,
            id="a changed spec after a foreign revision",
        ),
        pytest.param(
            an_observation(OLD, a_revision_of(DESIRED, 2, status="failed"), a_foreign_revision(3)),
            {},
            Nothing(),
            Reason.FOREIGN_REVISION,
            True,
            id="a foreign revision after a failed upgrade",
        ),
        pytest.param(
            an_observation(OLD, a_revision(2, status="pending-upgrade")),
            {},
            Unlock(2),
            Reason.RELEASE_LOCKED,
            False,
            id="Helm was killed",
        ),
        pytest.param(
            an_observation(a_revision(status="failed")),
            {},
            an_apply(DESIRED, 2),
            Reason.INSTALLING,
            False,
            id="a failed install is retried",
        ),
        pytest.param(
            an_observation(OLD, a_revision(2, status="failed")),
            {},
            an_apply(DESIRED, 3, 1),
            Reason.CONFIGURING,
            False,
            id="a failed upgrade is retried",
        ),
        pytest.param(
            an_observation(OLD), {}, an_apply(DESIRED, 2, 1), Reason.CONFIGURING, False, id="the spec changed"
        ),
        pytest.param(an_observation(SAME), {}, WriteRecord(a_record()), Reason.IN_SYNC, False, id="no record"),
        pytest.param(
            an_observation(SAME, record=a_record(revision=4)),
            {},
            WriteRecord(a_record()),
            Reason.IN_SYNC,
            False,
            id="record of another revision",
        ),
        pytest.param(
            an_observation(SAME, record=a_record(pod_cidrs=["10.1.0.0/16"], initial_version="1.17.1")),
            {},
            WriteRecord(a_record(initial_version="1.17.1")),
            Reason.IN_SYNC,
            False,
            id="the initial version is kept",
        ),
        pytest.param(an_observation(SAME, record=a_record()), {}, Nothing(), Reason.IN_SYNC, False, id="in sync"),
        pytest.param(
            an_observation(), {"failure": RETRIED_IN_5_S}, Nothing(), Reason.CHART_UNAVAILABLE, False, id="backing off"
        ),
        pytest.param(
            an_observation(),
            {"failure": RETRIED_IN_5_S, "now": NOW + timedelta(seconds=5)},
            an_apply(DESIRED, 1),
            Reason.INSTALLING,
            False,
            id="backoff over",
        ),
        pytest.param(
            an_observation(OLD),
            {"failure": NOT_RETRIED},
            Nothing(),
            Reason.CHART_REFUSED,
            True,
            id="a failure that is not retried",
        ),
        pytest.param(
            an_observation(SAME, record=a_record()),
            {"failure": NOT_RETRIED},
            Nothing(),
            Reason.IN_SYNC,
            False,
            id="an old failure does not matter once in sync",
        ),
        pytest.param(
            an_observation(SAME),
            {"failure": NOT_RETRIED},
            WriteRecord(a_record()),
            Reason.IN_SYNC,
            False,
            id="a failure that is not retried blocks only the release",
        ),
        pytest.param(
            an_observation(OLD, a_revision(2, status="pending-upgrade")),
            {"failure": NOT_RETRIED},
            Unlock(2),
            Reason.RELEASE_LOCKED,
            False,
            id="a failure that is not retried does not keep the lock",
        ),
    ],
)
def test_decide(observation: Observation, more: dict[str, Any], action: Action, reason: Reason, stalled: bool) -> None:
    decision = decide(an_evaluation(observation=observation, **more))

    assert (decision.action, decision.reason, decision.stalled) == (action, reason, stalled)
    assert decision.violations == ()


@pytest.mark.parametrize(
    ("observation", "more", "message"),
    [
        pytest.param(an_observation(), {}, f"installing Cilium {VERSION} from {REF}", id="installing"),
        pytest.param(
            an_observation(),
            {"failure": RETRIED_IN_5_S},
            "the registry is unavailable (tried once, next attempt at 12:00:05Z)",
            id="after one failure",
        ),
        pytest.param(
            an_observation(),
            {"failure": Failure(Reason.APPLY_FAILED, "it broke", 3, NOW + timedelta(seconds=20))},
            "it broke (tried 3 times, next attempt at 12:00:20Z)",
            id="after three failures",
        ),
        pytest.param(an_observation(), {"failure": NOT_RETRIED}, "wrong digest", id="not retried"),
        pytest.param(
            an_observation(a_foreign_revision(2, status="failed")),
            {},
            "Helm release cilium in kube-system (revision 2, failed) was not created by this operator",
            id="a foreign release",
        ),
        pytest.param(
            an_observation(SAME, a_foreign_revision(2)),
            {},
            "revision 2 of Helm release cilium",
            id="a foreign revision",
        ),
        pytest.param(
            an_observation(a_revision(status="pending-install")),
            {},
            "Helm was interrupted at revision 1 (pending-install); marking it failed to unlock the release",
            id="pending",
        ),
    ],
)
def test_the_message_contains_the_values(observation: Observation, more: dict[str, Any], message: str) -> None:
    assert decide(an_evaluation(observation=observation, **more)).message.startswith(message)


@pytest.mark.parametrize(
    ("rollout", "action", "reason", "stalled"),
    [
        pytest.param(NO_ROLLOUT, Nothing(), Reason.IN_SYNC, False, id="none in progress"),
        pytest.param(
            RolloutPlan(RolloutStep.RESTART, "x", ("cilium-a",)),
            RestartAgents(("cilium-a",)),
            Reason.ROLLING_OUT,
            False,
            id="restarting",
        ),
        pytest.param(RolloutPlan(RolloutStep.WAIT, "x"), Nothing(), Reason.ROLLING_OUT, False, id="waiting"),
        pytest.param(RolloutPlan(RolloutStep.STALLED, "x"), Nothing(), Reason.ROLLOUT_STALLED, False, id="stalled"),
        pytest.param(RolloutPlan(RolloutStep.FAILED, "x"), Nothing(), Reason.ROLLOUT_STALLED, True, id="failed"),
    ],
)
def test_decision_for_each_rollout_step(rollout: RolloutPlan, action: Action, reason: Reason, stalled: bool) -> None:
    record = a_record()
    decision = decide(an_evaluation(observation=an_observation(SAME, record=record), rollout=rollout))

    assert (decision.action, decision.reason, decision.stalled) == (action, reason, stalled)


def test_the_revision_is_recorded_before_any_agent_restarts() -> None:
    restarting = RolloutPlan(RolloutStep.RESTART, "x", ("cilium-a",))

    assert isinstance(decide(an_evaluation(observation=an_observation(SAME), rollout=restarting)).action, WriteRecord)
