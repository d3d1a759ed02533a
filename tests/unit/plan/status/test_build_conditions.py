from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings

from builders import (
    EARLIER,
    NODE,
    VERSION,
    a_condition,
    a_foreign_revision,
    a_healthy_observation,
    a_record,
    a_revision,
    a_spec,
    a_status,
    an_observation,
    condition,
    with_node,
)
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Status
from cilium_hybrid.plan.decide import decide, refuse
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.observation import CiliumOperator, CiliumPod, Observation
from cilium_hybrid.plan.rollout.operator_deployment import CILIUM_OPERATOR
from cilium_hybrid.rules.rule import Violation
from evaluations import a_decided_evaluation, an_evaluation, changed, status_of
from strategies import decided_evaluations

READY, RECONCILING, STALLED = ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED
VALID, RELEASED, NODES_READY = ConditionType.VALID, ConditionType.RELEASED, ConditionType.NODES_READY

HEALTHY = a_healthy_observation(a_revision(), record=a_record(), nodes=2)
NO_NODES = a_healthy_observation(a_revision(), nodes=0)
DISCONNECTED = with_node(HEALTHY, ready="Unknown")
NO_OPERATOR = replace(HEALTHY, cilium_operator=None)
NOT_AVAILABLE = replace(HEALTHY, cilium_operator=CiliumOperator(replicas=2, available=0, observed=True))
CRASHING = CiliumPod("cilium-operator-x", NODE, CILIUM_OPERATOR, "CrashLoopBackOff: no config")
HALF_UPDATED = replace(
    HEALTHY, cilium_operator=CiliumOperator(2, available=1, observed=True, current=False), other_pods=(CRASHING,)
)
SETTLED = a_status(a_condition(READY, "True", Reason.IN_SYNC))
BROKEN = (
    Violation(Reason.INVALID_VALUES, "spec.values.ipam", "cannot be set here"),
    Violation(Reason.MASK_CHANGED, "spec.ipam.maskSize", "cannot change"),
)


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        pytest.param(a_decided_evaluation(HEALTHY), f"Cilium {VERSION} runs on 2 of 2 hybrid nodes", id="healthy"),
        pytest.param(
            a_decided_evaluation(NO_NODES),
            f"Cilium {VERSION} is deployed; waiting for the first hybrid node to join",
            id="no nodes",
        ),
        pytest.param(
            a_decided_evaluation(DISCONNECTED),
            f"Cilium {VERSION} runs on 1 of 2 hybrid nodes: {NODE} (NodeDisconnected: "
            "node does not report to the API server)",
            id="a disconnected node",
        ),
        pytest.param(
            a_decided_evaluation(with_node(HEALTHY, ready="False", message="no disk"), previous=SETTLED),
            f"Cilium {VERSION} runs on 1 of 2 hybrid nodes: {NODE} (NodeNotReady: no disk)",
            id="a NotReady node",
        ),
        pytest.param(
            a_decided_evaluation(HALF_UPDATED, previous=SETTLED),
            f"Cilium {VERSION} runs on 2 of 2 hybrid nodes",
            id="a settled generation does not wait for the Cilium operator",
        ),
        pytest.param(
            a_decided_evaluation(
                replace(a_healthy_observation(a_revision(), nodes=5), agents={}), unready_since=EARLIER
            ),
            f"Cilium {VERSION} runs on 0 of 5 hybrid nodes: mi-0000000000000001, mi-0000000000000002 and 3 more "
            "(AgentNotReady: no Cilium agent pod on the node; the node is Ready because of leftover CNI files)",
            id="nodes with the same cause are grouped",
        ),
        pytest.param(
            a_decided_evaluation(HEALTHY, decision=refuse(BROKEN)),
            f"{BROKEN[0]} (and 1 more, see condition Valid)",
            id="refused",
        ),
    ],
)
def test_message_of_ready(evaluation: SpecEvaluation, message: str) -> None:
    ready = condition(status_of(evaluation), READY)

    assert ready is not None
    assert ready.message == message


def other_conditions(evaluation: SpecEvaluation) -> list[tuple[str, Reason, str]]:
    status = status_of(evaluation)
    conditions = [condition(status, kind) for kind in (VALID, RELEASED, NODES_READY)]
    return [(found.status, found.reason, found.message) for found in conditions if found is not None]


def test_the_other_conditions_of_a_healthy_cluster() -> None:
    assert other_conditions(a_decided_evaluation(HEALTHY)) == [
        ("True", Reason.ACCEPTED, "spec is valid"),
        ("True", Reason.IN_SYNC, f"Cilium {VERSION} is deployed"),
        ("True", Reason.IN_SYNC, "2 of 2 hybrid nodes are ready"),
    ]


def test_valid_names_every_violation() -> None:
    assert other_conditions(a_decided_evaluation(NO_NODES, decision=refuse(BROKEN))) == [
        ("False", Reason.INVALID_VALUES, f"{BROKEN[0]}; {BROKEN[1]}"),
        ("False", Reason.INVALID_VALUES, f"{BROKEN[0]} (and 1 more, see condition Valid)"),
        ("True", Reason.NO_HYBRID_NODES, "no hybrid node has joined"),
    ]


def test_violations_of_a_suspended_spec_are_only_in_valid() -> None:
    decision = decide(an_evaluation(a_spec(suspend=True), violations=BROKEN))
    valid, released, _ = other_conditions(a_decided_evaluation(HEALTHY, decision=decision, in_sync=True))

    assert valid == ("False", Reason.INVALID_VALUES, f"{BROKEN[0]}; {BROKEN[1]}")
    assert released == ("True", Reason.IN_SYNC, f"Cilium {VERSION} is deployed")


def test_released_has_the_reason_of_the_decision() -> None:
    decision = decide(an_evaluation())
    _, released, _ = other_conditions(a_decided_evaluation(NO_NODES, decision=decision))

    assert released == ("False", Reason.INSTALLING, decision.message)


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        pytest.param(DISCONNECTED, Reason.NODES_DISCONNECTED, id="only disconnected nodes"),
        pytest.param(
            with_node(DISCONNECTED, "mi-0000000000000002", ready="False"),
            Reason.NODES_NOT_READY,
            id="a connected node",
        ),
    ],
)
def test_nodes_ready_has_no_grace_period(observation: Observation, reason: Reason) -> None:
    _, _, (status, why, message) = other_conditions(a_decided_evaluation(observation, previous=SETTLED))

    assert (status, why) == ("False", reason)
    assert NODE in message


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), (None, None), id="no release"),
        pytest.param(HEALTHY, (VERSION, "1.17"), id="deployed"),
        pytest.param(an_observation(a_foreign_revision()), (None, None), id="a foreign release has no known version"),
        pytest.param(
            an_observation(a_revision(), a_revision(2, status="failed", version="1.18.0")),
            (VERSION, "1.17"),
            id="a failed revision does not run",
        ),
        pytest.param(an_observation(record=a_record(initial_version="1.16.2")), (None, "1.16"), id="only a record"),
    ],
)
def test_versions(observation: Observation, expected: tuple[str | None, str | None]) -> None:
    version = status_of(a_decided_evaluation(observation, spec=a_spec(version="1.19.0"))).version

    assert (version.running, version.initial) == expected
    assert version.target == "1.19.0"


def test_the_status_has_the_generation_of_the_evaluation() -> None:
    status = status_of(a_decided_evaluation(HEALTHY, generation=7))

    assert status.observed_generation == 7
    assert {found.observed_generation for found in status.conditions} == {7}


@settings(max_examples=150)
@given(decided_evaluations())
def test_conditions_follow_kstatus(evaluation: SpecEvaluation) -> None:
    conditions = status_of(evaluation).conditions
    kinds = [found.type for found in conditions]
    truths = {found.type: found.status for found in conditions}

    assert kinds[0] is READY
    assert len(set(kinds)) == len(kinds)
    assert {VALID, RELEASED, NODES_READY} <= set(kinds)
    assert not {RECONCILING, STALLED} <= set(kinds)
    for kind in {RECONCILING, STALLED} & set(kinds):
        assert truths[kind] == "True"
        assert truths[READY] == "False"


@settings(max_examples=150)
@given(decided_evaluations())
def test_building_the_status_is_idempotent(evaluation: SpecEvaluation) -> None:
    status = status_of(evaluation)

    assert status_of(replace(evaluation, previous=status)) == status
    assert Status.model_validate(status.model_dump(mode="json", by_alias=True)) == status


@settings(max_examples=150)
@given(decided_evaluations())
def test_a_transition_time_changes_only_with_its_status(evaluation: SpecEvaluation) -> None:
    before = {found.type: found for found in evaluation.previous.conditions}
    for found in status_of(evaluation).conditions:
        old = before.get(found.type)
        same = old is not None and old.status == found.status
        assert found.last_transition_time == (old.last_transition_time if same and old is not None else evaluation.now)


@given(decided_evaluations())
def test_a_transition_time_does_not_change_with_time(evaluation: SpecEvaluation) -> None:
    status = status_of(evaluation)
    later = status_of(changed(evaluation, previous=status, now=evaluation.now + timedelta(seconds=1)))
    before = {found.type: (found.status, found.last_transition_time) for found in status.conditions}

    for found in later.conditions:
        known = before.get(found.type)
        assert known is None or known[0] != found.status or known[1] == found.last_transition_time


@given(decided_evaluations())
def test_an_invalid_spec_is_never_ready(evaluation: SpecEvaluation) -> None:
    ready = condition(status_of(replace(evaluation, decision=refuse(BROKEN))), READY)

    assert ready is not None
    assert ready.status == "False"


def test_reason_and_message_of_a_decision_reach_the_status_unchanged() -> None:
    decision = decide(an_evaluation(a_spec(), an_observation(a_foreign_revision())))
    ready = condition(status_of(a_decided_evaluation(an_observation(a_foreign_revision()), decision=decision)), READY)

    assert ready is not None
    assert (ready.reason, ready.message) == (decision.reason, decision.message)
