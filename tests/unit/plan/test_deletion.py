from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from builders import NODE, NOW, a_foreign_revision, a_node, a_preflight, a_raw_spec, a_revision, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import Action, EndPreflight, Nothing, RemoveFinalizer, Uninstall
from cilium_hybrid.plan.deletion import DeletionInput, decide_deletion
from cilium_hybrid.plan.inputs import Failure
from cilium_hybrid.plan.observation import Observation
from strategies import BOOLEANS, FAILURES, SPECS, observations

UNINSTALL = a_raw_spec(deletionPolicy="Uninstall")
OURS = an_observation(a_revision(1), a_revision(2))
PREFLIGHT = an_observation(a_revision(), preflight=a_preflight())
ALONE = an_observation(preflight=a_preflight(release=a_revision(status="failed")))
BY_HAND = an_observation(a_revision(), preflight=a_preflight(release=a_foreign_revision()))
BLOCKED = Failure(Reason.DELETION_BLOCKED, "a hook failed", 2, NOW + timedelta(seconds=10))


def a_removal(observation: Observation = OURS, **more: Any) -> DeletionInput:
    facts: dict[str, Any] = {"spec": UNINSTALL, "has_finalizer": True, "now": NOW}
    return DeletionInput(observation=observation, **(facts | more))


@pytest.mark.parametrize(
    ("removal", "action", "reason"),
    [
        pytest.param(a_removal(), Uninstall(2), Reason.DELETING, id="Cilium is uninstalled as told"),
        pytest.param(a_removal(has_finalizer=False), Nothing(), Reason.DELETING, id="others hold the resource"),
        pytest.param(a_removal(spec=a_raw_spec()), RemoveFinalizer(), Reason.DELETING, id="Retain is the default"),
        pytest.param(
            a_removal(spec=a_raw_spec(deletionPolicy="Retain")), RemoveFinalizer(), Reason.DELETING, id="Retain"
        ),
        pytest.param(a_removal(spec=UNINSTALL | {"suspend": True}), RemoveFinalizer(), Reason.DELETING, id="suspended"),
        pytest.param(
            a_removal(an_observation(a_revision(), definition_terminating=True)),
            RemoveFinalizer(),
            Reason.DELETING,
            id="swept away together with its definition",
        ),
        pytest.param(
            a_removal(an_observation(a_foreign_revision())),
            RemoveFinalizer(),
            Reason.DELETING,
            id="somebody else's Cilium stays",
        ),
        pytest.param(
            a_removal(an_observation(a_revision(), a_foreign_revision(2))),
            Uninstall(2),
            Reason.DELETING,
            id="a foreign revision of ours is uninstalled too",
        ),
        pytest.param(
            a_removal(an_observation(a_revision(status="pending-upgrade"))),
            Uninstall(1),
            Reason.DELETING,
            id="a pending revision is in nobody's way",
        ),
        pytest.param(a_removal(failure=BLOCKED), Nothing(), Reason.DELETION_BLOCKED, id="it failed and the pause runs"),
        pytest.param(
            a_removal(failure=BLOCKED, now=NOW + timedelta(seconds=10)),
            Uninstall(2),
            Reason.DELETING,
            id="it failed and the pause is over",
        ),
        pytest.param(
            a_removal(an_observation(), failure=BLOCKED),
            Nothing(),
            Reason.DELETION_BLOCKED,
            id="letting go failed and the pause runs",
        ),
        pytest.param(
            a_removal(has_finalizer=False, failure=BLOCKED),
            Nothing(),
            Reason.DELETING,
            id="no pause where nothing is to do",
        ),
        pytest.param(
            a_removal(failure=Failure(Reason.CHART_REFUSED, "it is another", 1, None)),
            Uninstall(2),
            Reason.DELETING,
            id="what only a person can mend is in nobody's way",
        ),
        pytest.param(
            a_removal(an_observation(a_revision(), a_revision(2, status="uninstalled"))),
            RemoveFinalizer(),
            Reason.DELETING,
            id="it was uninstalled and its history kept",
        ),
        pytest.param(a_removal(an_observation()), RemoveFinalizer(), Reason.DELETING, id="nothing is there"),
        pytest.param(
            a_removal(an_observation(nodes=[a_node()], nodes_with_pods=[NODE])),
            Nothing(),
            Reason.DELETING,
            id="pods are on their way out",
        ),
        pytest.param(
            a_removal(an_observation(nodes=[a_node(ready="Unknown")], nodes_with_pods=[NODE])),
            RemoveFinalizer(),
            Reason.DELETING,
            id="pods of a node that does not report are not waited for",
        ),
        pytest.param(
            a_removal(an_observation(nodes_with_pods=[NODE])),
            RemoveFinalizer(),
            Reason.DELETING,
            id="pods of a node that is gone are not waited for",
        ),
        pytest.param(
            a_removal(spec={"deletionPolicy": "Uninstall", "version": None}),
            Uninstall(2),
            Reason.DELETING,
            id="no valid spec is needed",
        ),
        pytest.param(a_removal(spec={}), RemoveFinalizer(), Reason.DELETING, id="no spec at all is needed"),
        pytest.param(a_removal(PREFLIGHT), EndPreflight(), Reason.DELETING, id="the preflight goes first"),
        pytest.param(a_removal(ALONE), EndPreflight(), Reason.DELETING, id="a preflight of a Cilium that is gone"),
        pytest.param(
            a_removal(BY_HAND), Uninstall(1), Reason.DELETING, id="an admin's preflight is the admin's to end"
        ),
        pytest.param(
            a_removal(PREFLIGHT, spec=a_raw_spec()),
            RemoveFinalizer(),
            Reason.DELETING,
            id="Retain waits for no preflight",
        ),
        pytest.param(
            a_removal(PREFLIGHT, failure=BLOCKED), Nothing(), Reason.DELETION_BLOCKED, id="it cannot be ended yet"
        ),
    ],
)
def test_decide_removal(removal: DeletionInput, action: Action, reason: Reason) -> None:
    decision = decide_deletion(removal)

    assert (decision.action, decision.reason, decision.stalled) == (action, reason, False)


@pytest.mark.parametrize(
    ("removal", "words"),
    [
        pytest.param(a_removal(failure=BLOCKED), "a hook failed (tried 2 times, next at 12:00:10Z)", id="blocked"),
        pytest.param(
            a_removal(
                an_observation(nodes=[a_node("b"), a_node("a"), a_node("c", ready="Unknown")], nodes_with_pods="cba")
            ),
            "waiting for Cilium's pods to end on a, b",
            id="pods",
        ),
    ],
)
def test_the_message_says_what_is_waited_for(removal: DeletionInput, words: str) -> None:
    assert decide_deletion(removal).message == words


ANY_SPEC = SPECS.map(lambda spec: spec.model_dump(mode="json", by_alias=True))


@given(ANY_SPEC, SPECS.flatmap(observations), BOOLEANS, FAILURES)
def test_cilium_is_only_uninstalled_where_the_spec_says_so(
    spec: Mapping[str, Any], observation: Observation, has_finalizer: bool, failure: Failure | None
) -> None:
    decision = decide_deletion(DeletionInput(spec, observation, has_finalizer, NOW, failure))

    if isinstance(decision.action, Uninstall):
        assert spec["deletionPolicy"] == "Uninstall"
        assert not spec["suspend"]
        assert has_finalizer
        assert any(revision.managed for revision in observation.revisions)
        assert not observation.preflight.managed
    if isinstance(decision.action, RemoveFinalizer):
        assert has_finalizer
