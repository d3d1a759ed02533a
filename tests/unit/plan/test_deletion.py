from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from builders import NODE, NOW, a_foreign_revision, a_node, a_preflight, a_raw_spec, a_revision, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.v1alpha1 import FINALIZER
from cilium_hybrid.plan.actions import Action, Decision, EndPreflight, Nothing, RemoveFinalizer, Uninstall
from cilium_hybrid.plan.classify import classify
from cilium_hybrid.plan.decide import attempt
from cilium_hybrid.plan.deletion import decide_deletion
from cilium_hybrid.plan.inputs import Evaluation, Failure, ReconcileInput, Resource
from cilium_hybrid.plan.observation import Observation, ReleasePayload
from cilium_hybrid.rules.lenient_spec import read_lenient_spec
from strategies import BOOLEANS, FAILURES, SPECS, observations

UNINSTALL = a_raw_spec(deletionPolicy="Uninstall")
MANAGED = an_observation(a_revision(1), a_revision(2))
PREFLIGHT = an_observation(a_revision(), preflight=a_preflight())
LEFTOVER = an_observation(preflight=a_preflight(release=a_revision(status="failed")))
BY_HAND = an_observation(a_revision(), preflight=a_preflight(release=a_foreign_revision()))
BLOCKED = Failure(Reason.DELETION_BLOCKED, "a hook failed", 2, NOW + timedelta(seconds=10))


def a_deletion(
    observation: Observation = MANAGED,
    *,
    spec: Mapping[str, Any] = UNINSTALL,
    has_finalizer: bool = True,
    failure: Failure | None = None,
    now: datetime = NOW,
    **more: Any,
) -> Evaluation:
    finalizers = (FINALIZER,) if has_finalizer else ()
    reconcile_input = ReconcileInput(
        resource=Resource(1, "1", spec, {}, finalizers, deleting=True),
        lenient_spec=read_lenient_spec(spec),
        observation=observation,
        now=now,
        failure_of=lambda _: failure,
    )
    return Evaluation(
        input=replace(reconcile_input, **more), previous=Status(), release=classify(observation), failure=failure
    )


def decided(deletion: Evaluation) -> Decision:
    """The decision, after an earlier failure of its action."""
    return attempt(deletion, decide_deletion(deletion), deletion.failure)


@pytest.mark.parametrize(
    ("deletion", "action", "reason"),
    [
        pytest.param(a_deletion(), Uninstall(2), Reason.DELETING, id="deletionPolicy Uninstall"),
        pytest.param(a_deletion(has_finalizer=False), Nothing(), Reason.DELETING, id="other finalizers remain"),
        pytest.param(a_deletion(spec=a_raw_spec()), RemoveFinalizer(), Reason.DELETING, id="Retain is the default"),
        pytest.param(
            a_deletion(spec=a_raw_spec(deletionPolicy="Retain")),
            RemoveFinalizer(),
            Reason.DELETING,
            id="deletionPolicy Retain",
        ),
        pytest.param(
            a_deletion(spec=UNINSTALL | {"suspend": True}), RemoveFinalizer(), Reason.DELETING, id="suspended"
        ),
        pytest.param(
            a_deletion(an_observation(a_revision(), definition_terminating=True)),
            RemoveFinalizer(),
            Reason.DELETING,
            id="deleted together with the CRD",
        ),
        pytest.param(
            a_deletion(an_observation(a_foreign_revision())),
            RemoveFinalizer(),
            Reason.DELETING,
            id="a foreign release is kept",
        ),
        pytest.param(
            a_deletion(an_observation(a_revision(), a_foreign_revision(2))),
            RemoveFinalizer(),
            Reason.DELETING,
            id="a release that an admin took over is kept",
        ),
        pytest.param(
            a_deletion(an_observation(a_revision(status="pending-upgrade"))),
            Uninstall(1),
            Reason.DELETING,
            id="a pending revision does not block",
        ),
        pytest.param(
            a_deletion(an_observation(a_revision(status="pending-upgrade")), unlock_after=15.0),
            Nothing(),
            Reason.DELETING,
            id="a Helm that an earlier leader started may still run",
        ),
        pytest.param(
            a_deletion(an_observation(a_revision(status="uninstalling"))),
            Uninstall(1),
            Reason.DELETING,
            id="an interrupted uninstall is finished",
        ),
        pytest.param(
            a_deletion(an_observation(a_revision(), lost_watches=("nodes: 403 Forbidden",))),
            Nothing(),
            Reason.DELETION_BLOCKED,
            id="a watch is lost",
        ),
        pytest.param(
            a_deletion(an_observation(a_revision(), payloads={1: ReleasePayload(readable=False)})),
            Nothing(),
            Reason.DELETION_BLOCKED,
            id="a revision that cannot be decoded",
        ),
        pytest.param(a_deletion(failure=BLOCKED), Nothing(), Reason.DELETION_BLOCKED, id="failed, backing off"),
        pytest.param(
            a_deletion(failure=BLOCKED, now=NOW + timedelta(seconds=10)),
            Uninstall(2),
            Reason.DELETING,
            id="failed, backoff over",
        ),
        pytest.param(
            a_deletion(an_observation(), failure=BLOCKED),
            Nothing(),
            Reason.DELETION_BLOCKED,
            id="removing the finalizer failed, backing off",
        ),
        pytest.param(
            a_deletion(has_finalizer=False, failure=BLOCKED),
            Nothing(),
            Reason.DELETING,
            id="no backoff without an action",
        ),
        pytest.param(
            a_deletion(failure=Failure(Reason.CHART_REFUSED, "wrong digest", 1, None)),
            Uninstall(2),
            Reason.DELETING,
            id="a failure that is not retried does not block",
        ),
        pytest.param(
            a_deletion(an_observation(a_revision(), a_revision(2, status="uninstalled"))),
            RemoveFinalizer(),
            Reason.DELETING,
            id="uninstalled with its history kept",
        ),
        pytest.param(a_deletion(an_observation()), RemoveFinalizer(), Reason.DELETING, id="no release"),
        pytest.param(
            a_deletion(an_observation(nodes=[a_node()], nodes_with_agent_pods=[NODE])),
            Nothing(),
            Reason.DELETING,
            id="agent pods are terminating",
        ),
        pytest.param(
            a_deletion(an_observation(nodes=[a_node(ready="Unknown")], nodes_with_agent_pods=[NODE])),
            RemoveFinalizer(),
            Reason.DELETING,
            id="agent pods on a disconnected node are ignored",
        ),
        pytest.param(
            a_deletion(an_observation(nodes_with_agent_pods=[NODE])),
            RemoveFinalizer(),
            Reason.DELETING,
            id="agent pods on a deleted node are ignored",
        ),
        pytest.param(
            a_deletion(spec={"deletionPolicy": "Uninstall", "version": None}),
            Uninstall(2),
            Reason.DELETING,
            id="an invalid spec",
        ),
        pytest.param(a_deletion(spec={}), RemoveFinalizer(), Reason.DELETING, id="an empty spec"),
        pytest.param(a_deletion(PREFLIGHT), EndPreflight(), Reason.DELETING, id="the preflight check is removed first"),
        pytest.param(a_deletion(LEFTOVER), EndPreflight(), Reason.DELETING, id="a preflight check without a release"),
        pytest.param(
            a_deletion(BY_HAND), Uninstall(1), Reason.DELETING, id="a preflight check started by hand is kept"
        ),
        pytest.param(
            a_deletion(PREFLIGHT, spec=a_raw_spec()),
            RemoveFinalizer(),
            Reason.DELETING,
            id="Retain does not wait for the preflight check",
        ),
        pytest.param(
            a_deletion(PREFLIGHT, failure=BLOCKED),
            Nothing(),
            Reason.DELETION_BLOCKED,
            id="removing the preflight check failed, backing off",
        ),
    ],
)
def test_decide_deletion(deletion: Evaluation, action: Action, reason: Reason) -> None:
    decision = decided(deletion)

    assert (decision.action, decision.reason, decision.stalled) == (action, reason, False)


@pytest.mark.parametrize(
    ("deletion", "message"),
    [
        pytest.param(
            a_deletion(failure=BLOCKED), "a hook failed (tried 2 times, next attempt at 12:00:10Z)", id="blocked"
        ),
        pytest.param(
            a_deletion(
                an_observation(
                    nodes=[a_node("b"), a_node("a"), a_node("c", ready="Unknown")], nodes_with_agent_pods="cba"
                )
            ),
            "waiting for the Cilium agent pods on a, b to terminate",
            id="agent pods",
        ),
    ],
)
def test_the_message_names_what_blocks_the_deletion(deletion: Evaluation, message: str) -> None:
    assert decided(deletion).message == message


ANY_SPEC = SPECS.map(lambda spec: spec.model_dump(mode="json", by_alias=True))


@given(ANY_SPEC, SPECS.flatmap(observations), BOOLEANS, FAILURES)
def test_cilium_is_only_uninstalled_if_the_spec_says_so(
    spec: Mapping[str, Any], observation: Observation, has_finalizer: bool, failure: Failure | None
) -> None:
    decision = decided(a_deletion(observation, spec=spec, has_finalizer=has_finalizer, failure=failure))

    if isinstance(decision.action, Uninstall):
        assert spec["deletionPolicy"] == "Uninstall"
        assert not spec["suspend"]
        assert has_finalizer
        assert any(revision.managed for revision in observation.revisions)
        assert not observation.preflight.managed
    if isinstance(decision.action, RemoveFinalizer):
        assert has_finalizer
