from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings

from builders import (
    NODE,
    VERSION,
    a_condition,
    a_foreign_revision,
    a_healthy_observation,
    a_judged_report,
    a_record,
    a_revision,
    a_situation,
    a_spec,
    a_status,
    an_observation,
    condition,
    with_node,
)
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Status
from cilium_hybrid.plan.decide import decide, refuse
from cilium_hybrid.plan.observation import CiliumOperator, CiliumPod, Observation
from cilium_hybrid.plan.rollout.operator_deployment import CILIUM_OPERATOR
from cilium_hybrid.plan.status.build import next_status
from cilium_hybrid.plan.status.report import Report
from cilium_hybrid.rules.rule import Violation
from strategies import reports

READY, RECONCILING, STALLED = ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED
VALID, RELEASED, NODES_READY = ConditionType.VALID, ConditionType.RELEASED, ConditionType.NODES_READY

WELL = a_healthy_observation(a_revision(), record=a_record(), nodes=2)
NO_NODES = a_healthy_observation(a_revision(), nodes=0)
AWAY = with_node(WELL, ready="Unknown")
NO_OPERATOR = replace(WELL, cilium_operator=None)
NOT_AVAILABLE = replace(WELL, cilium_operator=CiliumOperator(replicas=2, available=0, observed=True))
CRASHES = CiliumPod("cilium-operator-x", NODE, CILIUM_OPERATOR, "CrashLoopBackOff: no config")
HALF_NEW = replace(
    WELL, cilium_operator=CiliumOperator(2, available=1, observed=True, current=False), other_pods=(CRASHES,)
)
SETTLED = a_status(a_condition(READY, "True", Reason.IN_SYNC))
BROKEN = (
    Violation(Reason.INVALID_VALUES, "spec.values.ipam", "cannot be set here"),
    Violation(Reason.MASK_CHANGED, "spec.ipam.maskSize", "cannot change"),
)


@pytest.mark.parametrize(
    ("report", "message"),
    [
        pytest.param(a_judged_report(WELL), f"Cilium {VERSION} runs on 2 of 2 hybrid nodes", id="all is well"),
        pytest.param(
            a_judged_report(NO_NODES),
            f"Cilium {VERSION} is released and waits for the first hybrid node to join",
            id="no nodes",
        ),
        pytest.param(
            a_judged_report(AWAY),
            f"Cilium {VERSION} runs on 1 of 2 hybrid nodes: {NODE} (NodeDisconnected: "
            "the node does not report to the API server)",
            id="a node is away",
        ),
        pytest.param(
            a_judged_report(with_node(WELL, ready="False", message="no disk"), previous=SETTLED),
            f"Cilium {VERSION} runs on 1 of 2 hybrid nodes: {NODE} (NodeNotReady: no disk)",
            id="a kubelet is in trouble",
        ),
        pytest.param(
            a_judged_report(NOT_AVAILABLE),
            "waiting for Cilium's operator: 0 of 2 replicas available",
            id="its operator starts",
        ),
        pytest.param(
            a_judged_report(HALF_NEW),
            "waiting for Cilium's operator: 1 of 2 replicas available, not all of them of what is released "
            "(pod cilium-operator-x: CrashLoopBackOff: no config)",
            id="the next one does not start",
        ),
        pytest.param(
            a_judged_report(HALF_NEW, previous=SETTLED),
            f"Cilium {VERSION} runs on 2 of 2 hybrid nodes",
            id="one that is replaced later does not make it unready",
        ),
        pytest.param(
            a_judged_report(NO_OPERATOR), "waiting for Cilium's operator to appear", id="its operator is missing"
        ),
        pytest.param(
            a_judged_report(replace(a_healthy_observation(a_revision(), nodes=5), agents={})),
            f"Cilium {VERSION} runs on 0 of 5 hybrid nodes: mi-0000000000000001, mi-0000000000000002 and 3 more "
            "(AgentNotReady: no Cilium agent pod on the node, which is Ready by CNI files that were left on it)",
            id="nodes of one cause are told as one",
        ),
        pytest.param(
            a_judged_report(WELL, decision=refuse(BROKEN)),
            f"{BROKEN[0]} (and 1 more, see condition Valid)",
            id="refused",
        ),
    ],
)
def test_ready_says_it_all_in_one_line(report: Report, message: str) -> None:
    said = condition(next_status(report), READY)

    assert said is not None
    assert said.message == message


def three(report: Report) -> list[tuple[str, Reason, str]]:
    status = next_status(report)
    found = [condition(status, kind) for kind in (VALID, RELEASED, NODES_READY)]
    return [(made.status, made.reason, made.message) for made in found if made is not None]


def test_the_other_conditions_of_a_cluster_that_is_well() -> None:
    assert three(a_judged_report(WELL)) == [
        ("True", Reason.ACCEPTED, "the spec breaks no rule"),
        ("True", Reason.IN_SYNC, f"Cilium {VERSION} is released"),
        ("True", Reason.IN_SYNC, "2 of 2 nodes pass"),
    ]


def test_valid_names_every_violation() -> None:
    assert three(a_judged_report(NO_NODES, decision=refuse(BROKEN))) == [
        ("False", Reason.INVALID_VALUES, f"{BROKEN[0]}; {BROKEN[1]}"),
        ("False", Reason.INVALID_VALUES, f"{BROKEN[0]} (and 1 more, see condition Valid)"),
        ("True", Reason.NO_HYBRID_NODES, "no hybrid node has joined"),
    ]


def test_a_suspended_spec_that_breaks_a_rule_is_told_in_valid_alone() -> None:
    decision = decide(a_situation(a_spec(suspend=True), violations=BROKEN))
    valid, released, _ = three(a_judged_report(WELL, decision=decision, in_sync=True))

    assert valid == ("False", Reason.INVALID_VALUES, f"{BROKEN[0]}; {BROKEN[1]}")
    assert released == ("True", Reason.IN_SYNC, f"Cilium {VERSION} is released")


def test_released_says_why_it_is_not() -> None:
    decision = decide(a_situation())
    _, released, _ = three(a_judged_report(NO_NODES, decision=decision))

    assert released == ("False", Reason.INSTALLING, decision.message)


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        pytest.param(AWAY, Reason.NODES_DISCONNECTED, id="only nodes that do not report"),
        pytest.param(
            with_node(AWAY, "mi-0000000000000002", ready="False"), Reason.NODES_NOT_READY, id="a node that reports"
        ),
    ],
)
def test_nodes_ready_tells_at_once(observation: Observation, reason: Reason) -> None:
    _, _, (status, why, message) = three(a_judged_report(observation, previous=SETTLED))

    assert (status, why) == ("False", reason)
    assert NODE in message


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), (None, None), id="nothing is installed"),
        pytest.param(WELL, (VERSION, "1.17"), id="it runs"),
        pytest.param(an_observation(a_foreign_revision()), (None, None), id="somebody else's version is not known"),
        pytest.param(
            an_observation(a_revision(), a_revision(2, status="failed", version="1.18.0")),
            (VERSION, "1.17"),
            id="what failed does not run",
        ),
        pytest.param(an_observation(record=a_record(initial_version="1.16.2")), (None, "1.16"), id="it ran once"),
    ],
)
def test_versions(observation: Observation, expected: tuple[str | None, str | None]) -> None:
    version = next_status(a_judged_report(observation, target="1.19.0")).version

    assert (version.running, version.initial) == expected
    assert version.target == "1.19.0"


def test_the_status_speaks_of_the_generation_that_was_judged() -> None:
    status = next_status(a_judged_report(WELL, generation=7))

    assert status.observed_generation == 7
    assert {made.observed_generation for made in status.conditions} == {7}


@settings(max_examples=150)
@given(reports())
def test_conditions_follow_kstatus(report: Report) -> None:
    conditions = next_status(report).conditions
    kinds = [made.type for made in conditions]
    truths = {made.type: made.status for made in conditions}

    assert kinds[0] is READY
    assert len(set(kinds)) == len(kinds)
    assert {VALID, RELEASED, NODES_READY} <= set(kinds)
    assert not {RECONCILING, STALLED} <= set(kinds)
    for kind in {RECONCILING, STALLED} & set(kinds):
        assert truths[kind] == "True"
        assert truths[READY] == "False"


@settings(max_examples=150)
@given(reports())
def test_a_status_made_twice_is_the_same(report: Report) -> None:
    status = next_status(report)

    assert next_status(replace(report, previous=status)) == status
    assert Status.model_validate(status.model_dump(mode="json", by_alias=True)) == status


@settings(max_examples=150)
@given(reports())
def test_a_transition_time_moves_only_with_its_status(report: Report) -> None:
    before = {made.type: made for made in report.previous.conditions}
    for made in next_status(report).conditions:
        old = before.get(made.type)
        same = old is not None and old.status == made.status
        assert made.last_transition_time == (old.last_transition_time if same and old is not None else report.now)


@given(reports())
def test_time_alone_moves_no_transition(report: Report) -> None:
    status = next_status(report)
    later = next_status(replace(report, previous=status, now=report.now + timedelta(seconds=1)))
    before = {made.type: (made.status, made.last_transition_time) for made in status.conditions}

    for made in later.conditions:
        known = before.get(made.type)
        assert known is None or known[0] != made.status or known[1] == made.last_transition_time


@given(reports())
def test_a_spec_that_breaks_a_rule_is_never_ready(report: Report) -> None:
    said = condition(next_status(replace(report, decision=refuse(BROKEN))), READY)

    assert said is not None
    assert said.status == "False"


def test_a_decision_reaches_the_status_unchanged() -> None:
    decision = decide(a_situation(a_spec(), an_observation(a_foreign_revision())))
    said = condition(next_status(a_judged_report(an_observation(a_foreign_revision()), decision=decision)), READY)

    assert said is not None
    assert (said.reason, said.message) == (decision.reason, decision.message)
