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
    a_situation,
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

WANT = desired_release(a_spec(), an_observation())
CHANGED = a_spec(masquerade=False)
SAME = a_revision_of(WANT)
OLD = a_revision(values_digest=OTHER_DIGEST)
AFTER_5_S = Failure(Reason.CHART_UNAVAILABLE, "the registry is away", 1, NOW + timedelta(seconds=5))
FOR_A_PERSON = Failure(Reason.CHART_REFUSED, "the chart is another", 1, None)


@pytest.mark.parametrize(
    ("observation", "more", "action", "reason", "stalled"),
    [
        pytest.param(an_observation(), {}, an_apply(WANT, 1), Reason.INSTALLING, False, id="nothing is installed"),
        pytest.param(
            an_observation(secrets_namespace_terminating=True),
            {},
            Nothing(),
            Reason.INSTALLING,
            False,
            id="a namespace of the Cilium before is on its way out",
        ),
        pytest.param(
            an_observation(a_revision(3, status="uninstalled")),
            {},
            an_apply(WANT, 4),
            Reason.INSTALLING,
            False,
            id="it was uninstalled and its history kept",
        ),
        pytest.param(
            an_observation(a_foreign_revision()),
            {},
            Nothing(),
            Reason.RELEASE_NOT_OWNED,
            True,
            id="somebody else installed it",
        ),
        pytest.param(
            an_observation(a_foreign_revision()),
            {"spec": CHANGED},
            Nothing(),
            Reason.RELEASE_NOT_OWNED,
            True,
            id="a change of the spec takes nothing from somebody else",
        ),
        pytest.param(
            an_observation(SAME, a_foreign_revision(2)),
            {},
            Nothing(),
            Reason.FOREIGN_REVISION,
            True,
            id="somebody else upgraded ours",
        ),
        pytest.param(
            an_observation(SAME, a_foreign_revision(2)),
            {"spec": CHANGED},
            an_apply(desired_release(CHANGED, an_observation()), 3, 2),
            Reason.CONFIGURING,
            False,
            id="somebody else upgraded ours and then the spec changed",
        ),
        pytest.param(
            an_observation(OLD, a_revision_of(WANT, 2, status="failed"), a_foreign_revision(3)),
            {},
            Nothing(),
            Reason.FOREIGN_REVISION,
            True,
            id="somebody else mended what failed to be released",
        ),
        pytest.param(
            an_observation(OLD, a_revision(2, status="pending-upgrade")),
            {},
            Unlock(2),
            Reason.RELEASE_LOCKED,
            False,
            id="helm was killed",
        ),
        pytest.param(
            an_observation(a_revision(status="failed")),
            {},
            an_apply(WANT, 2),
            Reason.INSTALLING,
            False,
            id="a failed install is an install still",
        ),
        pytest.param(
            an_observation(OLD, a_revision(2, status="failed")),
            {},
            an_apply(WANT, 3, 1),
            Reason.CONFIGURING,
            False,
            id="a failed upgrade is tried again",
        ),
        pytest.param(an_observation(OLD), {}, an_apply(WANT, 2, 1), Reason.CONFIGURING, False, id="the spec changed"),
        pytest.param(
            an_observation(SAME), {}, WriteRecord(a_record()), Reason.IN_SYNC, False, id="nothing is recorded"
        ),
        pytest.param(
            an_observation(SAME, record=a_record(revision=4)),
            {},
            WriteRecord(a_record()),
            Reason.IN_SYNC,
            False,
            id="another revision is recorded",
        ),
        pytest.param(
            an_observation(SAME, record=a_record(pod_cidrs=["10.1.0.0/16"], initial_version="1.17.1")),
            {},
            WriteRecord(a_record(initial_version="1.17.1")),
            Reason.IN_SYNC,
            False,
            id="the version first installed is never forgotten",
        ),
        pytest.param(
            an_observation(SAME, record=a_record()), {}, Nothing(), Reason.IN_SYNC, False, id="all is as it should be"
        ),
        pytest.param(
            an_observation(), {"failure": AFTER_5_S}, Nothing(), Reason.CHART_UNAVAILABLE, False, id="the pause runs"
        ),
        pytest.param(
            an_observation(),
            {"failure": AFTER_5_S, "now": NOW + timedelta(seconds=5)},
            an_apply(WANT, 1),
            Reason.INSTALLING,
            False,
            id="the pause is over",
        ),
        pytest.param(
            an_observation(OLD),
            {"failure": FOR_A_PERSON},
            Nothing(),
            Reason.CHART_REFUSED,
            True,
            id="only a person can mend it",
        ),
        pytest.param(
            an_observation(SAME, record=a_record()),
            {"failure": FOR_A_PERSON},
            Nothing(),
            Reason.IN_SYNC,
            False,
            id="an old failure means nothing once all is well",
        ),
        pytest.param(
            an_observation(SAME),
            {"failure": FOR_A_PERSON},
            WriteRecord(a_record()),
            Reason.IN_SYNC,
            False,
            id="what only a person can mend stops nothing but the release",
        ),
        pytest.param(
            an_observation(OLD, a_revision(2, status="pending-upgrade")),
            {"failure": FOR_A_PERSON},
            Unlock(2),
            Reason.RELEASE_LOCKED,
            False,
            id="what only a person can mend keeps no lock",
        ),
    ],
)
def test_decide(observation: Observation, more: dict[str, Any], action: Action, reason: Reason, stalled: bool) -> None:
    decision = decide(a_situation(observation=observation, **more))

    assert (decision.action, decision.reason, decision.stalled) == (action, reason, stalled)
    assert decision.violations == ()


@pytest.mark.parametrize(
    ("observation", "more", "words"),
    [
        pytest.param(an_observation(), {}, f"installing Cilium {VERSION} from {REF}", id="installing"),
        pytest.param(
            an_observation(),
            {"failure": AFTER_5_S},
            "the registry is away (tried once, next at 12:00:05Z)",
            id="after one failure",
        ),
        pytest.param(
            an_observation(),
            {"failure": Failure(Reason.APPLY_FAILED, "it broke", 3, NOW + timedelta(seconds=20))},
            "it broke (tried 3 times, next at 12:00:20Z)",
            id="after three failures",
        ),
        pytest.param(an_observation(), {"failure": FOR_A_PERSON}, "the chart is another", id="for a person"),
        pytest.param(
            an_observation(a_foreign_revision(2, status="failed")),
            {},
            "Helm release cilium in kube-system (revision 2, failed) was not made by this operator",
            id="somebody else's",
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
            "an interrupted Helm left revision 1 pending-install",
            id="pending",
        ),
    ],
)
def test_a_message_holds_the_values_that_matter(observation: Observation, more: dict[str, Any], words: str) -> None:
    assert decide(a_situation(observation=observation, **more)).message.startswith(words)


@pytest.mark.parametrize(
    ("rollout", "action", "reason", "stalled"),
    [
        pytest.param(NO_ROLLOUT, Nothing(), Reason.IN_SYNC, False, id="none is under way"),
        pytest.param(
            RolloutPlan(RolloutStep.RESTART, "x", ("cilium-a",)),
            RestartAgents(("cilium-a",)),
            Reason.ROLLING_OUT,
            False,
            id="on",
        ),
        pytest.param(RolloutPlan(RolloutStep.WAIT, "x"), Nothing(), Reason.ROLLING_OUT, False, id="it waits"),
        pytest.param(
            RolloutPlan(RolloutStep.STALLED, "x"), Nothing(), Reason.ROLLOUT_STALLED, False, id="it does not get on"
        ),
        pytest.param(
            RolloutPlan(RolloutStep.FAILED, "x"), Nothing(), Reason.ROLLOUT_STALLED, True, id="its agents fail"
        ),
    ],
)
def test_what_a_rollout_comes_to(rollout: RolloutPlan, action: Action, reason: Reason, stalled: bool) -> None:
    record = a_record()
    decision = decide(a_situation(observation=an_observation(SAME, record=record), rollout=rollout))

    assert (decision.action, decision.reason, decision.stalled) == (action, reason, stalled)


def test_what_was_released_is_remembered_before_any_agent_is_moved() -> None:
    moving = RolloutPlan(RolloutStep.RESTART, "x", ("cilium-a",))

    assert isinstance(decide(a_situation(observation=an_observation(SAME), rollout=moving)).action, WriteRecord)
