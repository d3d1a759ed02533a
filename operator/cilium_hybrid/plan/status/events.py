"""What a change of the status is worth telling as Kubernetes Events: what changed, and not what was seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.api.conditions import ConditionType, Reason, find_condition
from cilium_hybrid.api.status import HistoryAction, HistoryEntry, PlanPhase, PreflightResult, Status

# Not Ready, and as it should be: the operator is at work, or was told to wait.
_ROUTINE: Final = frozenset(
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
_MADE_FOR: Final = {
    HistoryAction.INSTALL: Reason.INSTALLING,
    HistoryAction.CONFIGURE: Reason.CONFIGURING,
    HistoryAction.UPGRADE: Reason.UPGRADING,
    HistoryAction.ROLLBACK: Reason.ROLLING_BACK,
}
_BEGINS: Final = {
    PlanPhase.PREFLIGHT: (Reason.PREFLIGHT_RUNNING, "the pre-flight check begins"),
    PlanPhase.APPLY: (Reason.UPGRADING, "it is being released"),
    PlanPhase.ROLLOUT: (Reason.ROLLING_OUT, "its agents are being moved"),
}


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """One change, in the words of the status."""

    reason: Reason
    message: str
    warning: bool = False


def status_events(before: Status, after: Status) -> tuple[StatusEvent, ...]:
    """What changed between two statuses; nothing where only counts and words did."""
    ready = tuple(_of_ready(before, after))
    said = {one.reason for one in ready}
    if said & {Reason.INSTALLING, Reason.CONFIGURING}:
        # What the step that is being released is for.
        said.add(Reason.UPGRADING)
    steps = (
        one for one in (*_of_the_steps(before, after), *_of_the_preflight(before, after)) if one.reason not in said
    )
    return (*ready, *_of_the_history(before, after), *steps)


def _of_ready(before: Status, after: Status) -> Iterator[StatusEvent]:
    was, now = (find_condition(status.conditions, ConditionType.READY) for status in (before, after))
    if now is not None and (was is None or (was.status, was.reason) != (now.status, now.reason)):
        yield StatusEvent(now.reason, now.message, warning=now.status != "True" and now.reason not in _ROUTINE)


def _of_the_history(before: Status, after: Status) -> Iterator[StatusEvent]:
    # The history of a resource that is new is told by Helm's records of one before it: nothing of that is news.
    if not before.conditions:
        return
    known = {(entry.revision, entry.at) for entry in before.history}
    for entry in after.history:
        if (entry.revision, entry.at) not in known:
            failed = entry.result == "Failed"
            reason = Reason.APPLY_FAILED if failed else _MADE_FOR.get(entry.action, Reason.CONFIGURING)
            yield StatusEvent(reason, _told(entry), warning=failed or entry.action is HistoryAction.ROLLBACK)


def _told(entry: HistoryEntry) -> str:
    change = entry.to_version
    if entry.from_version not in {None, entry.to_version}:
        change = f"{entry.from_version} to {entry.to_version}"
    done = "Helm could not apply it" if entry.result == "Failed" else "Helm applied it"
    return f"{entry.action} as revision {entry.revision}, Cilium {change}: {done}"


def _of_the_steps(before: Status, after: Status) -> Iterator[StatusEvent]:
    were = {step.version: step.phase for step in before.plan}
    for step in after.plan:
        if step.phase in _BEGINS and were.get(step.version) is not step.phase:
            reason, what = _BEGINS[step.phase]
            yield StatusEvent(reason, f"Cilium {step.version}: {what}")


def _of_the_preflight(before: Status, after: Status) -> Iterator[StatusEvent]:
    was, now = before.preflight, after.preflight
    if now is None or (was is not None and (was.version, was.result) == (now.version, now.result)):
        return
    told = f"Cilium {now.version}: {now.ready} of {now.expected} nodes passed the pre-flight check"
    if now.result is PreflightResult.PASSED:
        yield StatusEvent(Reason.PREFLIGHT_PASSED, told)
    elif now.result is PreflightResult.FAILED:
        yield StatusEvent(Reason.PREFLIGHT_FAILED, "; ".join((told, *now.findings)), warning=True)
