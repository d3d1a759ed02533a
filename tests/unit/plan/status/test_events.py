from typing import Any

import pytest
from hypothesis import given

from builders import EARLIER, NOW, a_condition, a_status
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.events import EventReason
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
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.status.events import StatusEvent, status_events
from evaluations import status_of
from strategies import decided_evaluations


def ready(status: str = "True", reason: Reason = Reason.IN_SYNC, message: str = "as it was", **more: Any) -> Status:
    return a_status(a_condition(ConditionType.READY, status, reason, message=message), **more)


def made(revision: int, action: HistoryAction = HistoryAction.CONFIGURE, **more: Any) -> HistoryEntry:
    facts = {"at": NOW, "from": "1.17.9-0", "to": "1.17.9-0", "result": "Succeeded"} | more
    return HistoryEntry.model_validate({"revision": revision, "action": action} | facts)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(ready(), ready(), [], id="no change"),
        pytest.param(ready(), ready(message="2 of 3"), [], id="another message"),
        pytest.param(ready(), ready(nodes=Nodes(total=1)), [], id="other counts"),
        pytest.param(Status(), Status(), [], id="no condition"),
        pytest.param(
            Status(),
            ready("False", Reason.INSTALLING, "now"),
            [StatusEvent(Reason.INSTALLING, "now")],
            id="the first status",
        ),
        pytest.param(
            ready("False", Reason.INSTALLING),
            ready(),
            [StatusEvent(Reason.IN_SYNC, "as it was")],
            id="Ready turned True",
        ),
        pytest.param(
            ready(),
            ready("False", Reason.NODES_NOT_READY, "one is not"),
            [StatusEvent(Reason.NODES_NOT_READY, "one is not", warning=True)],
            id="Ready turned False",
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
            id="Ready turned False for a reason that is no problem",
        ),
    ],
)
def test_a_new_status_or_reason_of_ready_is_reported(
    before: Status, after: Status, expected: list[StatusEvent]
) -> None:
    assert list(status_events(before, after)) == expected


def at(phase: PlanPhase, version: str = "1.18.8-1") -> tuple[PlanStep, ...]:
    return (PlanStep(version=version, phase=phase),)


FAILED_ENTRIES = [
    pytest.param(
        made(1, HistoryAction.INSTALL, result="Failed", **{"from": None}),
        EventReason.INSTALL_FAILED,
        "Helm could not apply revision 1 (Install, Cilium 1.17.9-0)",
        id="an install",
    ),
    pytest.param(
        made(2, result="Failed"),
        EventReason.CONFIGURE_FAILED,
        "Helm could not apply revision 2 (Configure, Cilium 1.17.9-0)",
        id="a configuration",
    ),
    pytest.param(
        made(2, HistoryAction.UPGRADE, to="1.18.8-1", result="Failed"),
        EventReason.UPGRADE_FAILED,
        "Helm could not apply revision 2 (Upgrade, Cilium 1.17.9-0 to 1.18.8-1)",
        id="an upgrade",
    ),
    pytest.param(
        made(3, HistoryAction.ROLLBACK, result="Failed"),
        EventReason.ROLLBACK_FAILED,
        "Helm could not apply revision 3 (Rollback, Cilium 1.17.9-0)",
        id="a rollback",
    ),
]


@pytest.mark.parametrize(("entry", "reason", "message"), FAILED_ENTRIES)
def test_a_failed_revision_is_a_failed_outcome(entry: HistoryEntry, reason: EventReason, message: str) -> None:
    old = made(1, at=EARLIER)
    events = status_events(ready(history=(old,)), ready(history=(old, entry)))

    assert events == (StatusEvent(reason, message, warning=True),)
    assert status_events(ready(history=(old, entry)), ready(history=(old, entry))) == ()


def test_a_revision_that_helm_applied_is_not_a_success_yet() -> None:
    assert status_events(ready(history=()), ready(history=(made(1),))) == ()


def test_the_history_of_an_earlier_resource_and_a_truncated_one_are_not_reported() -> None:
    entries = (made(1, result="Failed"), made(2))

    assert status_events(Status(), ready(history=entries)) == (StatusEvent(Reason.IN_SYNC, "as it was"),)
    assert status_events(ready(history=entries), ready(history=entries[1:])) == ()


NODES = Nodes(total=6, disconnected=1)
INSTALL = made(1, HistoryAction.INSTALL, **{"from": None})
UPGRADE = made(2, HistoryAction.UPGRADE, to="1.18.8-1")
ROLLBACK = made(3, HistoryAction.ROLLBACK, **{"from": "1.18.8-1"})


def ended(entry: HistoryEntry, outcome: str) -> HistoryEntry:
    return entry.model_copy(update={"rollout": outcome})


@pytest.mark.parametrize("between", [Reason.ROLLING_OUT, Reason.API_UNAVAILABLE, Reason.SUSPENDED])
@pytest.mark.parametrize(
    ("entry", "nodes", "expected"),
    [
        pytest.param(
            INSTALL,
            NODES,
            (EventReason.INSTALL_SUCCEEDED, "revision 1 (Install, Cilium 1.17.9-0) runs on 5 connected nodes"),
            id="an install",
        ),
        pytest.param(
            made(2),
            Nodes(total=1),
            (EventReason.CONFIGURE_SUCCEEDED, "revision 2 (Configure, Cilium 1.17.9-0) runs on 1 connected node"),
            id="a configuration",
        ),
        pytest.param(
            UPGRADE,
            NODES,
            (
                EventReason.UPGRADE_SUCCEEDED,
                "revision 2 (Upgrade, Cilium 1.17.9-0 to 1.18.8-1) runs on 5 connected nodes",
            ),
            id="an upgrade",
        ),
        pytest.param(
            ROLLBACK,
            NODES,
            (
                EventReason.ROLLBACK_SUCCEEDED,
                "revision 3 (Rollback, Cilium 1.18.8-1 to 1.17.9-0) runs on 5 connected nodes",
            ),
            id="a rollback",
        ),
    ],
)
def test_a_change_succeeds_once_its_revision_is_verified(
    between: Reason, entry: HistoryEntry, nodes: Nodes, expected: tuple[EventReason, str]
) -> None:
    before = ready("False", between, history=(entry,))
    after = ready("False", between, history=(ended(entry, "Verified"),), nodes=nodes)

    assert status_events(before, after) == (StatusEvent(*expected),)
    assert status_events(after, after) == ()


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        pytest.param(Reason.ROLLING_BACK, ": it fails", id="rolled back"),
        pytest.param(Reason.ROLLOUT_STALLED, ": it fails", id="stopped"),
        pytest.param(Reason.API_UNAVAILABLE, "", id="reported while something else is wrong"),
    ],
)
def test_a_change_fails_once_its_revision_is_rejected(reason: Reason, cause: str) -> None:
    before = ready("False", reason, "it fails", history=(UPGRADE,))
    after = ready("False", reason, "it fails", history=(ended(UPGRADE, "Rejected"),))
    message = f"revision 2 (Upgrade, Cilium 1.17.9-0 to 1.18.8-1){cause}"

    assert status_events(before, after) == (StatusEvent(EventReason.UPGRADE_FAILED, message, warning=True),)
    assert status_events(after, after) == ()


def test_a_recovery_is_not_another_success() -> None:
    history = (ended(UPGRADE, "Verified"),)
    before, after = ready("False", Reason.NODES_NOT_READY, history=history), ready(history=history)

    assert [event.reason for event in status_events(before, after)] == [Reason.IN_SYNC]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(PlanPhase.PENDING, PlanPhase.PREFLIGHT, (Reason.PREFLIGHT_RUNNING,), id="the preflight starts"),
        pytest.param(PlanPhase.PREFLIGHT, PlanPhase.PREFLIGHT, (), id="the preflight continues"),
        pytest.param(PlanPhase.PREFLIGHT, PlanPhase.APPLY, (Reason.UPGRADING,), id="the release is applied"),
        pytest.param(PlanPhase.APPLY, PlanPhase.ROLLOUT, (Reason.ROLLING_OUT,), id="the agents are restarted"),
        pytest.param(PlanPhase.ROLLOUT, PlanPhase.DONE, (), id="the last step is done, which Ready reports"),
    ],
)
def test_a_step_that_starts_is_reported(before: PlanPhase, after: PlanPhase, expected: tuple[Reason, ...]) -> None:
    found = status_events(ready(plan=at(before)), ready(plan=at(after)))

    assert tuple(event.reason for event in found) == expected
    assert all(event.message.startswith("Cilium 1.18.8-1: ") and not event.warning for event in found)


def test_what_ready_reports_is_not_reported_twice() -> None:
    before = ready(plan=at(PlanPhase.APPLY))
    after = ready("False", Reason.ROLLING_OUT, "restarting", plan=at(PlanPhase.ROLLOUT))

    assert status_events(before, after) == (StatusEvent(Reason.ROLLING_OUT, "restarting"),)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(PreflightResult.RUNNING, (), id="it is running"),
        pytest.param(
            PreflightResult.PASSED,
            (StatusEvent(Reason.PREFLIGHT_PASSED, "Cilium 1.18.8-1: 1 of 2 nodes passed the preflight check"),),
            id="it passed",
        ),
        pytest.param(
            PreflightResult.FAILED,
            (
                StatusEvent(
                    Reason.PREFLIGHT_FAILED,
                    "Cilium 1.18.8-1: 1 of 2 nodes passed the preflight check; mi-2 has no image",
                    warning=True,
                ),
            ),
            id="it failed",
        ),
    ],
)
def test_the_result_of_a_preflight_is_reported(result: PreflightResult, expected: tuple[StatusEvent, ...]) -> None:
    running = PreflightStatus(version="1.18.8-1", result=PreflightResult.RUNNING, expected=2)
    ended = PreflightStatus(version="1.18.8-1", result=result, ready=1, expected=2, findings=("mi-2 has no image",))

    assert status_events(ready(preflight=running), ready(preflight=ended)) == expected
    assert status_events(ready(preflight=ended), ready(preflight=ended)) == ()
    assert status_events(ready(), ready(preflight=ended)) == expected
    assert status_events(ready(preflight=ended), ready()) == ()


@given(decided_evaluations())
def test_an_unchanged_status_has_no_events(evaluation: SpecEvaluation) -> None:
    status = status_of(evaluation)

    assert status_events(status, status) == ()
    first = status_events(Status(), status)
    assert first[0].reason is status.conditions[0].reason
    assert len({event.reason for event in first}) == len(first)
