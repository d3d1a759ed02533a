"""The checker of statuses: it lets pass what the operator writes, and names each thing that is wrong."""

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from builders import NOW, a_healthy_observation, a_report, a_revision, with_node
from cilium_hybrid.plan.status.build import next_status
from cilium_hybrid.plan.status.report import Report
from cilium_hybrid.reconcile.reconciler import dump
from kstatus import faults
from strategies import reports

Resource = dict[str, Any]


def written(report: Report) -> Resource:
    at = (report.now + timedelta(milliseconds=300)).isoformat()
    return {"metadata": {"generation": report.generation}, "status": dump(next_status(report)), "at": at}


WELL = a_healthy_observation(a_revision(), nodes=2)
REPORT = a_report(WELL)


def edited(edit: Callable[[Resource], object]) -> list[Resource]:
    resource = copy.deepcopy(written(REPORT))
    edit(resource)
    return [resource]


def condition(resource: Resource, kind: str) -> Resource:
    found: Resource = next(one for one in resource["status"]["conditions"] if one["type"] == kind)
    return found


def add(resource: Resource, kind: str, status: str = "True") -> Resource:
    made = condition(resource, "Ready") | {"type": kind, "status": status}
    resource["status"]["conditions"].append(made)
    return made


def test_a_status_of_the_operator_breaks_nothing() -> None:
    assert faults([written(REPORT)]) == []


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        pytest.param(lambda r: r["status"].pop("observedGeneration"), "observedGeneration is None", id="of nothing"),
        pytest.param(
            lambda r: r["metadata"].update(generation=0), "observedGeneration is 1", id="ahead of its generation"
        ),
        pytest.param(
            lambda r: condition(r, "Valid").update(observedGeneration=7),
            "condition Valid speaks of another generation",
            id="a condition of another generation",
        ),
        pytest.param(lambda r: condition(r, "Ready").update(type="Fine"), "Ready says []", id="not Ready at all"),
        pytest.param(lambda r: condition(r, "Ready").update(status="Maybe"), "Ready says ['Maybe']", id="another word"),
        pytest.param(lambda r: add(r, "Ready"), "a condition is there twice", id="twice"),
        pytest.param(lambda r: add(r, "Stalled", "False"), "Stalled is there and False", id="Stalled, not True"),
        pytest.param(lambda r: add(r, "Reconciling"), "Ready and Reconciling at once", id="Ready and at work"),
        pytest.param(
            lambda r: (add(r, "Reconciling"), add(r, "Stalled")),
            "Reconciling and Stalled at once",
            id="at work, stalled",
        ),
        pytest.param(
            lambda r: add(r, "Stalled").update(message="x"),
            "Stalled and Ready differ in their message",
            id="what blocks is not what Ready says",
        ),
        pytest.param(
            lambda r: condition(r, "Valid").pop("lastTransitionTime"), "condition Valid has the fields", id="no time"
        ),
        pytest.param(lambda r: condition(r, "Valid").update(status="Yes"), "condition Valid is Yes", id="no truth"),
        pytest.param(
            lambda r: condition(r, "Valid").update(reason="two words"), "condition Valid has the reason", id="no word"
        ),
        pytest.param(
            lambda r: condition(r, "Valid").update(message=""), "condition Valid has a message of 0", id="no message"
        ),
        pytest.param(
            lambda r: condition(r, "Valid").update(lastTransitionTime="now"),
            "condition Valid changed at",
            id="no moment",
        ),
    ],
)
def test_what_is_wrong_with_a_status_is_named(edit: Callable[[Resource], object], fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(edited(edit)))


AWAY = a_report(with_node(WELL, ready="Unknown"), now=NOW + timedelta(minutes=1))


def test_a_status_after_another_breaks_nothing() -> None:
    first = next_status(REPORT)

    assert faults([written(REPORT), written(replace(AWAY, previous=first))]) == []


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        pytest.param(
            lambda r: condition(r, "Valid").update(lastTransitionTime="2026-03-01T12:01:00Z"),
            "the transition time of Valid moved",
            id="a time that moved alone",
        ),
        pytest.param(
            lambda r: condition(r, "NodesReady").update(lastTransitionTime="2026-03-01T11:59:59Z"),
            "the status of NodesReady changed and its transition time did not",
            id="a time that stayed",
        ),
        pytest.param(
            lambda r: r["status"].update(observedGeneration=0), "observedGeneration went back", id="a generation back"
        ),
        pytest.param(
            lambda r: r.update(status=written(REPORT)["status"]), "the same status was written twice", id="twice"
        ),
    ],
)
def test_what_is_wrong_between_two_statuses_is_named(edit: Callable[[Resource], object], fault: str) -> None:
    second = written(replace(AWAY, previous=next_status(REPORT)))
    edit(second)

    assert any(found.startswith(fault) for found in faults([written(REPORT), second]))


@settings(max_examples=150)
@given(reports())
def test_no_status_that_the_operator_can_make_breaks_a_rule(report: Report) -> None:
    assert faults([written(report)]) == []
