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


def working(reason: Reason, **more: Any) -> Status:
    conditions = [a_condition(kind, status, reason) for kind, status in CONDITIONS_WHILE_WORKING]
    return a_status(*conditions, **more)


CONDITIONS_WHILE_WORKING = [(ConditionType.READY, "False"), (ConditionType.RECONCILING, "True")]


@pytest.mark.parametrize(
    ("reason", "entry", "nodes", "expected"),
    [
        pytest.param(
            Reason.INSTALLING,
            INSTALL,
            NODES,
            (EventReason.INSTALL_SUCCEEDED, "revision 1 (Install, Cilium 1.17.9-0) runs on 5 connected nodes"),
            id="an install",
        ),
        pytest.param(
            Reason.INSTALLING,
            INSTALL,
            Nodes(),
            (EventReason.INSTALL_SUCCEEDED, "revision 1 (Install, Cilium 1.17.9-0) is deployed"),
            id="an install before the first node joins",
        ),
        pytest.param(
            Reason.ROLLING_OUT,
            made(2),
            Nodes(total=1),
            (EventReason.CONFIGURE_SUCCEEDED, "revision 2 (Configure, Cilium 1.17.9-0) runs on 1 connected node"),
            id="a configuration",
        ),
        pytest.param(
            Reason.ROLLOUT_STALLED,
            UPGRADE,
            NODES,
            (
                EventReason.UPGRADE_SUCCEEDED,
                "revision 2 (Upgrade, Cilium 1.17.9-0 to 1.18.8-1) runs on 5 connected nodes",
            ),
            id="an upgrade that was stalled for a while",
        ),
    ],
)
def test_a_change_succeeds_when_its_rollout_ends(
    reason: Reason, entry: HistoryEntry, nodes: Nodes, expected: tuple[EventReason, str]
) -> None:
    before = working(reason, history=(entry,), plan=at(PlanPhase.ROLLOUT))
    after = ready(history=(entry,), plan=at(PlanPhase.DONE), nodes=nodes)

    assert status_events(before, after) == (StatusEvent(Reason.IN_SYNC, "as it was"), StatusEvent(*expected))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            ready("False", Reason.NODES_NOT_READY),
            {"plan": at(PlanPhase.DONE)},
            id="a node that was unready for a while",
        ),
        pytest.param(
            working(Reason.API_UNAVAILABLE), {"plan": at(PlanPhase.DONE)}, id="an API server that was unavailable"
        ),
        pytest.param(working(Reason.INSTALLING), {"plan": ()}, id="a generation that changed nothing"),
        pytest.param(working(Reason.UPGRADING), {"plan": at(PlanPhase.ROLLOUT)}, id="a plan that is not finished"),
    ],
)
def test_a_recovery_is_not_another_success(before: Status, after: dict[str, Any]) -> None:
    events = status_events(before.model_copy(update={"history": (UPGRADE,)}), ready(history=(UPGRADE,), **after))

    assert EventReason.UPGRADE_SUCCEEDED not in {event.reason for event in events}


def test_each_step_of_an_upgrade_succeeds_on_its_own() -> None:
    def plan(*phases: PlanPhase) -> tuple[PlanStep, ...]:
        versions = ("1.17.15-1", "1.18.8-1")
        return tuple(PlanStep(version=v, phase=p) for v, p in zip(versions, phases, strict=True))

    before = working(Reason.ROLLING_OUT, plan=plan(PlanPhase.ROLLOUT, PlanPhase.PENDING), history=(UPGRADE,))
    after = working(Reason.UPGRADING, plan=plan(PlanPhase.DONE, PlanPhase.APPLY), history=(UPGRADE,), nodes=NODES)
    success = StatusEvent(EventReason.UPGRADE_SUCCEEDED, "Cilium 1.17.15-1 runs on 5 connected nodes")

    assert [event for event in status_events(before, after) if isinstance(event.reason, EventReason)] == [success]
    assert status_events(after, after) == ()


def stalled(reason: Reason) -> Status:
    conditions = [(ConditionType.READY, "False"), (ConditionType.STALLED, "True")]
    return a_status(*[a_condition(kind, status, reason, message="it fails") for kind, status in conditions])


@pytest.mark.parametrize("after", [stalled(Reason.ROLLOUT_STALLED), ready("False", Reason.ROLLING_BACK, "it fails")])
def test_a_change_whose_agents_fail_has_failed(after: Status) -> None:
    before = working(Reason.ROLLING_OUT, history=(UPGRADE,))
    after = after.model_copy(update={"history": (UPGRADE,)})
    message = "revision 2 (Upgrade, Cilium 1.17.9-0 to 1.18.8-1): it fails"
    (ready_condition, *_) = after.conditions

    assert status_events(before, after) == (
        StatusEvent(ready_condition.reason, "it fails", warning=True),
        StatusEvent(EventReason.UPGRADE_FAILED, message, warning=True),
    )
    assert status_events(after, after) == ()


def test_a_rollback_that_continues_is_not_another_failure() -> None:
    before = working(Reason.API_UNAVAILABLE, history=(UPGRADE,))
    events = status_events(before, working(Reason.ROLLING_BACK, history=(UPGRADE,)))

    assert [event.reason for event in events] == [Reason.ROLLING_BACK]


def test_a_rollback_succeeds_once() -> None:
    rollback = made(3, HistoryAction.ROLLBACK, **{"from": "1.18.8-1"})
    before = working(Reason.ROLLING_BACK, history=(UPGRADE, rollback))
    after = stalled(Reason.ROLLED_BACK).model_copy(update={"history": (UPGRADE, rollback), "nodes": NODES})
    message = "revision 3 (Rollback, Cilium 1.18.8-1 to 1.17.9-0) runs on 5 connected nodes"

    assert status_events(before, after) == (
        StatusEvent(Reason.ROLLED_BACK, "it fails", warning=True),
        StatusEvent(EventReason.ROLLBACK_SUCCEEDED, message),
    )
    assert status_events(after, after) == ()


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
