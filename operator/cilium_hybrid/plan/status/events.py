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
_NAMES_CAUSE: Final = frozenset({Reason.ROLLING_BACK, Reason.ROLLED_BACK, Reason.ROLLOUT_STALLED})
"""Reasons of `Ready` whose message says why a revision was rejected."""
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
    now = _ready(after)
    if now is not None and now.reason is Reason.INSTALLING:
        # A first install restarts no agent.
        reported.add(Reason.ROLLING_OUT)
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
    """Report how revisions ended, which the history keeps whatever `Ready` reports in between."""
    # The history of a new resource comes from the Helm revisions of an earlier one: none of it is new.
    if _ready(before) is None:
        return
    yield from _helm_failures(before, after)
    known = {(entry.revision, entry.at): entry.rollout for entry in before.history}
    now = _ready(after)
    for entry in after.history:
        if entry.rollout is None or known.get((entry.revision, entry.at)) == entry.rollout:
            continue
        if entry.rollout == "Rejected":
            cause = f": {now.message}" if now is not None and now.reason in _NAMES_CAUSE else ""
            yield StatusEvent(_FAILED[entry.action], f"{_describe(entry)}{cause}", warning=True)
        else:
            yield StatusEvent(_SUCCEEDED[entry.action], f"{_describe(entry)} {_runs(after)}")


def _helm_failures(before: Status, after: Status) -> Iterator[StatusEvent]:
    known = {(entry.revision, entry.at) for entry in before.history}
    for entry in after.history:
        if (entry.revision, entry.at) not in known and entry.result == "Failed":
            yield StatusEvent(_FAILED[entry.action], f"Helm could not apply {_describe(entry)}", warning=True)


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
