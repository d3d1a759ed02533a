from typing import Any

import pytest
from hypothesis import given

from builders import EARLIER, NOW, a_condition, a_status
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import (
    HistoryAction,
    HistoryEntry,
    Nodes,
    PlanPhase,
    PlanStep,
    PreflightResult,
    PreflightStatus,
    Status,
)
from cilium_hybrid.plan.status.build import next_status
from cilium_hybrid.plan.status.events import StatusEvent, status_events
from cilium_hybrid.plan.status.report import Report
from strategies import reports


def ready(status: str = "True", reason: Reason = Reason.IN_SYNC, message: str = "as it was", **more: Any) -> Status:
    return a_status(a_condition(ConditionType.READY, status, reason, message=message), **more)


def made(revision: int, action: HistoryAction = HistoryAction.CONFIGURE, **more: Any) -> HistoryEntry:
    facts = {"at": NOW, "from": "1.17.9-0", "to": "1.17.9-0", "result": "Succeeded"} | more
    return HistoryEntry.model_validate({"revision": revision, "action": action} | facts)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(ready(), ready(), [], id="nothing"),
        pytest.param(ready(), ready(message="2 of 3"), [], id="words alone"),
        pytest.param(ready(), ready(nodes=Nodes(total=1)), [], id="counts alone"),
        pytest.param(Status(), Status(), [], id="no condition"),
        pytest.param(
            Status(),
            ready("False", Reason.INSTALLING, "now"),
            [StatusEvent(Reason.INSTALLING, "now")],
            id="the first status",
        ),
        pytest.param(
            ready("False", Reason.INSTALLING), ready(), [StatusEvent(Reason.IN_SYNC, "as it was")], id="it turned Ready"
        ),
        pytest.param(
            ready(),
            ready("False", Reason.NODES_NOT_READY, "one is not"),
            [StatusEvent(Reason.NODES_NOT_READY, "one is not", warning=True)],
            id="it is Ready no longer",
        ),
        pytest.param(
            ready(),
            ready("True", Reason.NODES_DISCONNECTED, "away"),
            [StatusEvent(Reason.NODES_DISCONNECTED, "away")],
            id="Ready for another reason",
        ),
        pytest.param(
            ready("True", Reason.SUSPENDED),
            ready("False", Reason.SUSPENDED),
            [StatusEvent(Reason.SUSPENDED, "as it was")],
            id="not Ready for the same reason, which is no trouble",
        ),
    ],
)
def test_of_ready_the_reason_and_the_status_are_news(
    before: Status, after: Status, expected: list[StatusEvent]
) -> None:
    assert list(status_events(before, after)) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(
            made(2),
            StatusEvent(Reason.CONFIGURING, "Configure as revision 2, Cilium 1.17.9-0: Helm applied it"),
            id="a configuration",
        ),
        pytest.param(
            made(2, HistoryAction.UPGRADE, to="1.18.8-1"),
            StatusEvent(Reason.UPGRADING, "Upgrade as revision 2, Cilium 1.17.9-0 to 1.18.8-1: Helm applied it"),
            id="an upgrade",
        ),
        pytest.param(
            made(1, HistoryAction.INSTALL, **{"from": None}),
            StatusEvent(Reason.INSTALLING, "Install as revision 1, Cilium 1.17.9-0: Helm applied it"),
            id="an install",
        ),
        pytest.param(
            made(2, HistoryAction.UPGRADE, result="Failed"),
            StatusEvent(
                Reason.APPLY_FAILED,
                "Upgrade as revision 2, Cilium 1.17.9-0: Helm could not apply it",
                warning=True,
            ),
            id="one that failed",
        ),
        pytest.param(
            made(3, HistoryAction.ROLLBACK),
            StatusEvent(Reason.ROLLING_BACK, "Rollback as revision 3, Cilium 1.17.9-0: Helm applied it", warning=True),
            id="a rollback",
        ),
    ],
)
def test_a_new_entry_of_the_history_is_news(entry: HistoryEntry, expected: StatusEvent) -> None:
    old = made(1, at=EARLIER)

    assert status_events(ready(history=(old,)), ready(history=(old, entry))) == (expected,)


def test_the_history_of_a_resource_before_is_no_news_and_neither_is_one_that_was_cut() -> None:
    entries = (made(1), made(2))

    assert status_events(Status(), ready(history=entries)) == (StatusEvent(Reason.IN_SYNC, "as it was"),)
    assert status_events(ready(history=entries), ready(history=entries[1:])) == ()


def at(phase: PlanPhase, version: str = "1.18.8-1") -> tuple[PlanStep, ...]:
    return (PlanStep(version=version, phase=phase),)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(PlanPhase.PENDING, PlanPhase.PREFLIGHT, (Reason.PREFLIGHT_RUNNING,), id="the preflight begins"),
        pytest.param(PlanPhase.PREFLIGHT, PlanPhase.PREFLIGHT, (), id="it goes on"),
        pytest.param(PlanPhase.PREFLIGHT, PlanPhase.APPLY, (Reason.UPGRADING,), id="it is released"),
        pytest.param(PlanPhase.APPLY, PlanPhase.ROLLOUT, (Reason.ROLLING_OUT,), id="the agents move"),
        pytest.param(PlanPhase.ROLLOUT, PlanPhase.DONE, (), id="it is done, as the next step or Ready tells"),
    ],
)
def test_a_step_that_begins_is_news(before: PlanPhase, after: PlanPhase, expected: tuple[Reason, ...]) -> None:
    found = status_events(ready(plan=at(before)), ready(plan=at(after)))

    assert tuple(one.reason for one in found) == expected
    assert all(one.message.startswith("Cilium 1.18.8-1: ") and not one.warning for one in found)


def test_what_ready_says_is_not_said_twice() -> None:
    before = ready(plan=at(PlanPhase.APPLY))
    after = ready("False", Reason.ROLLING_OUT, "moving", plan=at(PlanPhase.ROLLOUT))

    assert status_events(before, after) == (StatusEvent(Reason.ROLLING_OUT, "moving"),)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(PreflightResult.RUNNING, (), id="it runs"),
        pytest.param(
            PreflightResult.PASSED,
            (StatusEvent(Reason.PREFLIGHT_PASSED, "Cilium 1.18.8-1: 1 of 2 nodes passed the pre-flight check"),),
            id="it passed",
        ),
        pytest.param(
            PreflightResult.FAILED,
            (
                StatusEvent(
                    Reason.PREFLIGHT_FAILED,
                    "Cilium 1.18.8-1: 1 of 2 nodes passed the pre-flight check; mi-2 has no image",
                    warning=True,
                ),
            ),
            id="it failed",
        ),
    ],
)
def test_how_a_preflight_ends_is_news(result: PreflightResult, expected: tuple[StatusEvent, ...]) -> None:
    running = PreflightStatus(version="1.18.8-1", result=PreflightResult.RUNNING, expected=2)
    ended = PreflightStatus(version="1.18.8-1", result=result, ready=1, expected=2, findings=("mi-2 has no image",))

    assert status_events(ready(preflight=running), ready(preflight=ended)) == expected
    assert status_events(ready(preflight=ended), ready(preflight=ended)) == ()
    assert status_events(ready(), ready(preflight=ended)) == expected
    assert status_events(ready(preflight=ended), ready()) == ()


@given(reports())
def test_a_status_that_is_the_same_is_no_news(report: Report) -> None:
    status = next_status(report)

    assert status_events(status, status) == ()
    first = status_events(Status(), status)
    assert first[0].reason is status.conditions[0].reason
    assert len({one.reason for one in first}) == len(first)
