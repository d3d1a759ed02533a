"""The Kubernetes Events that report a change of the status."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.api.conditions import Condition, ConditionType, Reason, find_condition
from cilium_hybrid.api.events import EventReason
from cilium_hybrid.api.status import HistoryAction, HistoryEntry, PlanPhase, PreflightResult, Status

# Not Ready as expected: the operator is at work, or waits as it was asked to.
_NO_WARNING: Final = frozenset(
    {
        Reason.IN_SYNC,
        Reason.ACCEPTED,
        Reason.INSTALLING,
        Reason.CONFIGURING,
        Reason.UPGRADING,
        Reason.PREFLIGHT_RUNNING,
        Reason.ROLLING_OUT,
        Reason.AWAITING_APPROVAL,
        Reason.RELEASE_LOCKED,
        Reason.SUSPENDED,
        Reason.DELETING,
    }
)
_SUCCEEDED: Final = {
    HistoryAction.INSTALL: EventReason.INSTALL_SUCCEEDED,
    HistoryAction.CONFIGURE: EventReason.CONFIGURE_SUCCEEDED,
    HistoryAction.UPGRADE: EventReason.UPGRADE_SUCCEEDED,
    HistoryAction.ROLLBACK: EventReason.ROLLBACK_SUCCEEDED,
}
_FAILED: Final = {
    HistoryAction.INSTALL: EventReason.INSTALL_FAILED,
    HistoryAction.CONFIGURE: EventReason.CONFIGURE_FAILED,
    HistoryAction.UPGRADE: EventReason.UPGRADE_FAILED,
    HistoryAction.ROLLBACK: EventReason.ROLLBACK_FAILED,
}
_IN_PROGRESS: Final = frozenset(
    {
        Reason.INSTALLING,
        Reason.CONFIGURING,
        Reason.UPGRADING,
        Reason.ROLLING_OUT,
        Reason.ROLLOUT_STALLED,
        Reason.NODES_NOT_READY,
    }
)
"""Reasons of `Ready` from which a change succeeds."""
_ROLLBACK_KNOWN: Final = frozenset(
    {Reason.ROLLING_BACK, Reason.ROLLED_BACK, Reason.APPLY_FAILED, Reason.API_UNAVAILABLE, Reason.RELEASE_LOCKED}
)
"""Reasons of `Ready` after which a rollback in progress does not count as a new failure."""
_STARTED: Final = {
    PlanPhase.PREFLIGHT: (Reason.PREFLIGHT_RUNNING, "running the preflight check"),
    PlanPhase.APPLY: (Reason.UPGRADING, "applying the release"),
    PlanPhase.ROLLOUT: (Reason.ROLLING_OUT, "restarting the agents"),
}


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """An Event to be recorded."""

    reason: Reason | EventReason
    message: str
    warning: bool = False


def status_events(before: Status, after: Status) -> tuple[StatusEvent, ...]:
    """Return the Events for the change from one status to another; none if only counts and messages differ."""
    ready = tuple(_ready_events(before, after))
    reported = {event.reason for event in ready}
    if reported & {Reason.INSTALLING, Reason.CONFIGURING}:
        # The release that the step applies is the one that `Ready` reports.
        reported.add(Reason.UPGRADING)
    started = (*_plan_events(before, after), *_preflight_events(before, after))
    return (
        *ready,
        *_outcome_events(before, after),
        *(event for event in started if event.reason not in reported),
    )


def _ready(status: Status) -> Condition | None:
    return find_condition(status.conditions, ConditionType.READY)


def _ready_events(before: Status, after: Status) -> Iterator[StatusEvent]:
    was, now = _ready(before), _ready(after)
    if now is not None and (was is None or (was.status, was.reason) != (now.status, now.reason)):
        yield StatusEvent(now.reason, now.message, warning=now.status != "True" and now.reason not in _NO_WARNING)


def _outcome_events(before: Status, after: Status) -> Iterator[StatusEvent]:
    was, now = _ready(before), _ready(after)
    # The history of a new resource comes from the Helm revisions of an earlier one: none of it is new.
    if was is None or now is None:
        return
    yield from _helm_failures(before, after)
    yield from _finished_steps(before, after)
    applied = next((entry for entry in reversed(after.history) if entry.result == "Succeeded"), None)
    if applied is None:
        return
    gave_up = now.reason is Reason.ROLLING_BACK or _is_stalled_rollout(after)
    if gave_up and was.reason not in _ROLLBACK_KNOWN and not _is_stalled_rollout(before):
        yield StatusEvent(_FAILED[applied.action], f"{_describe(applied)}: {now.message}", warning=True)
    if now.reason is Reason.ROLLED_BACK and was.reason is not Reason.ROLLED_BACK:
        yield StatusEvent(EventReason.ROLLBACK_SUCCEEDED, f"{_describe(applied)} {_runs(after)}")
    if _succeeded(before, was, after, now):
        yield StatusEvent(_SUCCEEDED[applied.action], f"{_describe(applied)} {_runs(after)}")


def _is_stalled_rollout(status: Status) -> bool:
    """Whether the rollout failed and is not rolled back."""
    ready, stalled = _ready(status), find_condition(status.conditions, ConditionType.STALLED)
    return ready is not None and stalled is not None and ready.reason is Reason.ROLLOUT_STALLED


def _succeeded(before: Status, was: Condition, after: Status, now: Condition) -> bool:
    """Whether the plan of this generation has just been completed.

    A node that was unready for a while after that does not complete it again: `Reconciling` is absent then.
    """
    reconciling = find_condition(before.conditions, ConditionType.RECONCILING) is not None
    done = bool(after.plan) and all(step.phase is PlanPhase.DONE for step in after.plan)
    return reconciling and was.reason in _IN_PROGRESS and done and now.status == "True"


def _helm_failures(before: Status, after: Status) -> Iterator[StatusEvent]:
    known = {(entry.revision, entry.at) for entry in before.history}
    for entry in after.history:
        if (entry.revision, entry.at) not in known and entry.result == "Failed":
            yield StatusEvent(_FAILED[entry.action], f"Helm could not apply {_describe(entry)}", warning=True)


def _finished_steps(before: Status, after: Status) -> Iterator[StatusEvent]:
    """Report each intermediate version of a plan that all connected nodes run."""
    phases = {step.version: step.phase for step in before.plan}
    for step in after.plan[:-1]:
        if step.phase is PlanPhase.DONE and phases.get(step.version, PlanPhase.DONE) is not PlanPhase.DONE:
            yield StatusEvent(EventReason.UPGRADE_SUCCEEDED, f"Cilium {step.version} {_runs(after)}")


def _runs(status: Status) -> str:
    connected = status.nodes.total - status.nodes.disconnected
    return f"runs on {connected} connected {'node' if connected == 1 else 'nodes'}" if connected else "is deployed"


def _describe(entry: HistoryEntry) -> str:
    change = entry.to_version
    if entry.from_version not in {None, entry.to_version}:
        change = f"{entry.from_version} to {entry.to_version}"
    return f"revision {entry.revision} ({entry.action}, Cilium {change})"


def _plan_events(before: Status, after: Status) -> Iterator[StatusEvent]:
    phases = {step.version: step.phase for step in before.plan}
    for step in after.plan:
        if step.phase in _STARTED and phases.get(step.version) is not step.phase:
            reason, action = _STARTED[step.phase]
            yield StatusEvent(reason, f"Cilium {step.version}: {action}")


def _preflight_events(before: Status, after: Status) -> Iterator[StatusEvent]:
    was, now = before.preflight, after.preflight
    if now is None or (was is not None and (was.version, was.result) == (now.version, now.result)):
        return
    message = f"Cilium {now.version}: {now.ready} of {now.expected} nodes passed the preflight check"
    if now.result is PreflightResult.PASSED:
        yield StatusEvent(Reason.PREFLIGHT_PASSED, message)
    elif now.result is PreflightResult.FAILED:
        yield StatusEvent(Reason.PREFLIGHT_FAILED, "; ".join((message, *now.findings)), warning=True)
