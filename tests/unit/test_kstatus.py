"""kstatus and the CRD's default status; the checker accepts every status of the operator and names each violation."""

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from builders import NOW, a_healthy_observation, a_revision, with_node
from cilium_hybrid.api.crd import custom_resource_definition
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.reconcile.reconciler import dump
from evaluations import a_decided_evaluation, status_of
from kstatus import compute_status, violations
from strategies import decided_evaluations

Resource = dict[str, Any]


def written(evaluation: SpecEvaluation) -> Resource:
    at = (evaluation.now + timedelta(milliseconds=300)).isoformat()
    return {"metadata": {"generation": evaluation.generation}, "status": dump(status_of(evaluation)), "at": at}


HEALTHY = a_healthy_observation(a_revision(), nodes=2)
EVALUATION = a_decided_evaluation(HEALTHY)


def edited(edit: Callable[[Resource], object]) -> list[Resource]:
    resource = copy.deepcopy(written(EVALUATION))
    edit(resource)
    return [resource]


def condition(resource: Resource, kind: str) -> Resource:
    found: Resource = next(item for item in resource["status"]["conditions"] if item["type"] == kind)
    return found


def add(resource: Resource, kind: str, status: str = "True") -> Resource:
    made = condition(resource, "Ready") | {"type": kind, "status": status}
    resource["status"]["conditions"].append(made)
    return made


def test_a_status_of_the_operator_breaks_no_rule() -> None:
    assert violations([written(EVALUATION)]) == []


@pytest.mark.parametrize(
    ("edit", "violation"),
    [
        pytest.param(
            lambda r: r["status"].pop("observedGeneration"), "observedGeneration is None", id="no observedGeneration"
        ),
        pytest.param(
            lambda r: r["metadata"].update(generation=0),
            "observedGeneration is 1",
            id="observedGeneration ahead of the generation",
        ),
        pytest.param(
            lambda r: condition(r, "Valid").update(observedGeneration=7),
            "condition Valid has another observedGeneration",
            id="condition of another generation",
        ),
        pytest.param(lambda r: condition(r, "Ready").update(type="Fine"), "status of Ready is []", id="no Ready"),
        pytest.param(
            lambda r: condition(r, "Ready").update(status="Maybe"),
            "status of Ready is ['Maybe']",
            id="unknown status of Ready",
        ),
        pytest.param(lambda r: add(r, "Ready"), "two conditions have the same type", id="a duplicate type"),
        pytest.param(lambda r: add(r, "Stalled", "False"), "Stalled is present and False", id="Stalled is False"),
        pytest.param(lambda r: add(r, "Reconciling"), "Ready and Reconciling at once", id="Ready and Reconciling"),
        pytest.param(
            lambda r: (add(r, "Reconciling"), add(r, "Stalled")),
            "Reconciling and Stalled at once",
            id="Reconciling and Stalled",
        ),
        pytest.param(
            lambda r: add(r, "Stalled").update(message="x"),
            "Stalled and Ready differ in their message",
            id="Ready has another message than what blocks",
        ),
        pytest.param(
            lambda r: condition(r, "Valid").pop("lastTransitionTime"),
            "condition Valid has the fields",
            id="no transition time",
        ),
        pytest.param(
            lambda r: condition(r, "Valid").update(status="Yes"), "condition Valid is Yes", id="unknown status"
        ),
        pytest.param(
            lambda r: condition(r, "Valid").update(reason="two words"),
            "condition Valid has the reason",
            id="malformed reason",
        ),
        pytest.param(
            lambda r: condition(r, "Valid").update(message=""), "condition Valid has a message of 0", id="empty message"
        ),
        pytest.param(
            lambda r: condition(r, "Valid").update(lastTransitionTime="now"),
            "condition Valid has the lastTransitionTime",
            id="malformed transition time",
        ),
    ],
)
def test_a_violation_in_a_status_is_named(edit: Callable[[Resource], object], violation: str) -> None:
    assert any(found.startswith(violation) for found in violations(edited(edit)))


DISCONNECTED = a_decided_evaluation(with_node(HEALTHY, ready="Unknown"), now=NOW + timedelta(minutes=1))


def test_two_consecutive_statuses_of_the_operator_break_no_rule() -> None:
    first = status_of(EVALUATION)

    assert violations([written(EVALUATION), written(replace(DISCONNECTED, previous=first))]) == []


@pytest.mark.parametrize(
    ("edit", "violation"),
    [
        pytest.param(
            lambda r: condition(r, "Valid").update(lastTransitionTime="2026-03-01T12:01:00Z"),
            "lastTransitionTime of Valid changed",
            id="transition time without a change of status",
        ),
        pytest.param(
            lambda r: condition(r, "NodesReady").update(lastTransitionTime="2026-03-01T11:59:59Z"),
            "the status of NodesReady changed, but its lastTransitionTime did not",
            id="change of status without a transition time",
        ),
        pytest.param(
            lambda r: r["status"].update(observedGeneration=0),
            "observedGeneration decreased",
            id="observedGeneration decreases",
        ),
        pytest.param(
            lambda r: r.update(status=written(EVALUATION)["status"]),
            "the same status was written twice",
            id="same status twice",
        ),
    ],
)
def test_a_violation_between_two_statuses_is_named(edit: Callable[[Resource], object], violation: str) -> None:
    second = written(replace(DISCONNECTED, previous=status_of(EVALUATION)))
    edit(second)

    assert any(found.startswith(violation) for found in violations([written(EVALUATION), second]))


@settings(max_examples=150)
@given(decided_evaluations())
def test_no_status_of_the_operator_breaks_a_rule(evaluation: SpecEvaluation) -> None:
    assert violations([written(evaluation)]) == []


DEFAULT_STATUS: Resource = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"][
    "properties"
]["status"]["default"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(DEFAULT_STATUS, "InProgress", id="default status of the CRD"),
        pytest.param({}, "Current", id="no status, which is why the CRD has a default"),
        pytest.param(
            {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}]}, "Current", id="ready"
        ),
        pytest.param(
            {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]},
            "InProgress",
            id="ready in an earlier generation",
        ),
        pytest.param(
            {
                "observedGeneration": 2,
                "conditions": [{"type": "Ready", "status": "False"}, {"type": "Reconciling", "status": "True"}],
            },
            "InProgress",
            id="reconciling",
        ),
        pytest.param(
            {
                "observedGeneration": 2,
                "conditions": [{"type": "Ready", "status": "False"}, {"type": "Stalled", "status": "True"}],
            },
            "Failed",
            id="stalled",
        ),
        pytest.param(
            {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "False"}]},
            "InProgress",
            id="not ready",
        ),
    ],
)
def test_kstatus_waits_until_the_operator_has_processed_the_resource(status: Resource, expected: str) -> None:
    assert compute_status({"metadata": {"generation": 2}, "status": status}) == expected


def test_kstatus_sees_a_resource_that_is_being_deleted() -> None:
    assert compute_status({"metadata": {"generation": 2, "deletionTimestamp": "2026-03-01T12:00:00Z"}}) == "Terminating"
