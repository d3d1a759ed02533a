"""From a decision and what was observed to the status; `Ready` is a summary, made here and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, assert_never

from cilium_hybrid.api.conditions import Condition, ConditionType, Reason, since
from cilium_hybrid.api.status import (
    MAX_HISTORY,
    HistoryAction,
    HistoryEntry,
    Phase,
    PlanStep,
    PreflightResult,
    PreflightStatus,
    Release,
    RolloutStatus,
    Status,
    UnreadyNode,
    Version,
)
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Decision, Nothing
from cilium_hybrid.plan.findings import findings
from cilium_hybrid.plan.ipam import IpamVerdict
from cilium_hybrid.plan.nodes import NodesVerdict, named
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.release import APPLIED, initial_version, last_deployed
from cilium_hybrid.plan.steps import newest_patch
from cilium_hybrid.plan.succession import with_its_trouble
from cilium_hybrid.rules.rule import Violation, all_named

Truth = Literal["True", "False", "Unknown"]

_HELD_BY_THE_CRD: Final = frozenset({Reason.MASK_CHANGED, Reason.POD_CIDR_REMOVED})


@dataclass(frozen=True, slots=True)
class Report:
    """All that a status is made of."""

    previous: Status
    generation: int
    target: str | None
    chart_ref: str
    observation: Observation
    decision: Decision
    nodes: NodesVerdict
    now: datetime
    in_sync: bool = False
    warnings: tuple[Violation, ...] = ()
    rollout: RolloutStatus | None = None
    plan: tuple[PlanStep, ...] = ()
    plan_digest: str = ""
    preflight: PreflightStatus | None = None
    published: Sequence[CiliumVersion] | None = None
    ipam: IpamVerdict | None = None
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """What `Ready` says."""

    ready: Truth
    reason: Reason
    message: str
    phase: Phase
    working: bool = False
    stalled: bool = False


def next_status(report: Report) -> Status:
    """The status after this pass; equal to the previous one where nothing changed."""
    observation, deployed = report.observation, last_deployed(report.observation)
    initial = initial_version(observation)
    running = deployed.chart_version if deployed is not None and deployed.ours else None
    summary = summarize(report)
    return Status(
        observed_generation=report.generation,
        phase=summary.phase,
        version=Version(
            running=running,
            target=report.target,
            initial=None if initial is None else CiliumVersion.parse(initial).series,
            latest_patch=_latest_patch(report, running),
        ),
        release=_release(report),
        plan=report.plan,
        plan_digest=report.plan_digest if report.plan else None,
        preflight=report.preflight,
        nodes=report.nodes.report(),
        rollout=report.rollout,
        ipam=None if report.ipam is None else report.ipam.ipam,
        findings=findings(observation, report.ipam, report.certificates),
        history=_history(report.previous.history, observation.revisions),
        conditions=_conditions(report, summary),
    )


def _latest_patch(report: Report, running: str | None) -> str | None:
    """What was found last still holds where nothing was found since, as after a restart."""
    before = report.previous.version
    if running is None or report.published is None:
        return before.latest_patch if before.running == running else None
    newest = newest_patch(CiliumVersion.parse(running), report.published)
    return None if newest is None else str(newest)


def summarize(report: Report) -> Summary:
    """What blocks, if anything does; else what the nodes say."""
    decision = report.decision
    if decision.reason is Reason.SUSPENDED:
        ready: Truth = "True" if _was_ready(report) else "False"
        return Summary(ready, decision.reason, decision.message, Phase.SUSPENDED)
    if decision.reason in {Reason.DELETING, Reason.DELETION_BLOCKED}:
        return Summary("False", decision.reason, decision.message, Phase.DELETING, working=True)
    if decision.stalled:
        return Summary("False", decision.reason, decision.message, Phase.BLOCKED, stalled=True)
    if decision.reason is Reason.IN_SYNC or (decision.reason is Reason.ROLLING_OUT and _settled(report)):
        return _of_the_nodes(report)
    if decision.reason is Reason.INSTALLING:
        phase = Phase.INSTALLING
    elif decision.reason is Reason.PREFLIGHT_RUNNING:
        phase = Phase.PREFLIGHT
    elif decision.reason is Reason.ROLLING_BACK:
        phase = Phase.ROLLING_BACK
    elif decision.reason is Reason.ROLLING_OUT or not isinstance(decision.action, Nothing):
        phase = Phase.UPGRADING
    else:
        phase = Phase.BLOCKED
    return Summary("False", decision.reason, decision.message, phase, working=True)


def _of_the_nodes(report: Report) -> Summary:
    """The release is in step; whether it runs is for Cilium's operator, the agents and the nodes to say."""
    nodes, now = report.nodes, report.now
    if nodes.total == 0:
        return Summary(
            "True",
            Reason.NO_HYBRID_NODES,
            f"Cilium {report.target} is released and waits for the first hybrid node to join",
            Phase.READY,
        )
    settled = _settled(report)
    blocking = nodes.fault_of_cilium(now) if settled else nodes.connected_failing
    if blocking:
        return _waiting(report, _told(report, nodes.connected_failing), settled)
    if not settled and (waits := _operator_waits(report)):
        return _waiting(report, waits, settled, of_the_release=True)
    told = _told(report, nodes.failing)
    if nodes.grace_ends(now) is not None:
        return Summary("True", Reason.NODES_JOINING, told, Phase.READY)
    if nodes.disconnected:
        return Summary("True", Reason.NODES_DISCONNECTED, told, Phase.READY)
    return Summary("True", Reason.IN_SYNC, told, Phase.READY)


def _waiting(report: Report, message: str, settled: bool, *, of_the_release: bool = False) -> Summary:
    """Not Ready, in the words of what is going on. `of_the_release`: what is waited for is no trouble of a node."""
    if settled:
        return Summary("False", Reason.NODES_NOT_READY, message, Phase.DEGRADED)
    history = _history(report.previous.history, report.observation.revisions)
    if [entry.result for entry in history].count("Succeeded") <= 1:
        return Summary("False", Reason.INSTALLING, message, Phase.INSTALLING, working=True)
    if of_the_release or min(report.nodes.up_to_date, report.nodes.agents_ready) < report.nodes.total:
        return Summary("False", Reason.ROLLING_OUT, message, Phase.UPGRADING, working=True)
    return Summary("False", Reason.NODES_NOT_READY, message, Phase.DEGRADED, working=True)


def _told(report: Report, failing: Sequence[UnreadyNode]) -> str:
    ready = report.nodes.total - len(report.nodes.failing)
    told = f"Cilium {report.target} runs on {ready} of {report.nodes.total} hybrid nodes"
    if failing:
        told += f": {named(failing)}"
    told += _forecast(report)
    if report.warnings:
        told += f" ({len(report.warnings)} to be looked at, see condition Valid)"
    if others := len(findings(report.observation, report.ipam, report.certificates)) - bool(_forecast(report)):
        told += f" ({others} to be looked at, see status.findings)"
    return told


def _forecast(report: Report) -> str:
    return f"; {report.ipam.forecast}" if report.ipam is not None and report.ipam.forecast else ""


def _operator_waits(report: Report) -> str | None:
    operator = report.observation.cilium_operator
    if operator is None:
        return "waiting for Cilium's operator to appear"
    if operator.observed and operator.available and operator.current:
        return None
    waiting = f"waiting for Cilium's operator: {operator.available} of {operator.replicas} replicas available"
    if operator.available:
        waiting += ", not all of them of what is released"
    return with_its_trouble(waiting, report.observation)


def _condition(status: Status, kind: ConditionType) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == kind), None)


def _was_ready(report: Report) -> bool:
    ready = _condition(report.previous, ConditionType.READY)
    return ready is not None and ready.status == "True"


def _settled(report: Report) -> bool:
    """Whether this generation has been Ready once: from then on a node's trouble is its own."""
    ready = _condition(report.previous, ConditionType.READY)
    if ready is None or ready.observed_generation != report.generation:
        return False
    if ready.status == "True":
        return True
    working = _condition(report.previous, ConditionType.RECONCILING)
    return ready.reason is Reason.NODES_NOT_READY and working is None


def _release(report: Report) -> Release | None:
    newest, record = report.observation.newest, report.observation.record
    if newest is None or not newest.ours or _traps(report.decision):
        return None
    recorded = record is not None and record.revision == newest.number
    return Release(
        revision=newest.number,
        status=newest.status,
        chart=record.chart_ref if record is not None and recorded else report.chart_ref or _chart(report.previous),
        chart_digest=newest.chart_digest,
        values_digest=newest.values_digest,
    )


def _traps(decision: Decision) -> bool:
    """Whether the spec has IPAM facts that do not run: where `release` is there, the CRD keeps a spec as it is."""
    return any(violation.reason in _HELD_BY_THE_CRD for violation in decision.violations)


def _chart(previous: Status) -> str:
    return "" if previous.release is None else previous.release.chart


def _history(before: tuple[HistoryEntry, ...], revisions: Sequence[Revision]) -> tuple[HistoryEntry, ...]:
    """One entry for each finished revision of ours, told by Helm's own records: nothing is lost by a crash."""
    entries = {(entry.revision, entry.at): entry for entry in before}
    running: str | None = None
    for revision in revisions:
        finished = revision.status in {*APPLIED, "failed"}
        key = (revision.number, revision.made_at)
        if revision.ours and finished and key not in entries:
            entries[key] = HistoryEntry(
                at=revision.made_at,
                action=_made_for(revision, running),
                from_version=running,
                to_version=revision.chart_version,
                revision=revision.number,
                result="Failed" if revision.status == "failed" else "Succeeded",
            )
        # Helm calls a failed revision superseded once a later one worked; what was told of it then still holds.
        failed = key in entries and entries[key].result == "Failed"
        if revision.status in APPLIED and not failed:
            running = revision.chart_version or running
    return tuple(sorted(entries.values(), key=lambda entry: (entry.at, entry.revision)))[-MAX_HISTORY:]


def _made_for(revision: Revision, running: str | None) -> HistoryAction:
    if revision.copies is not None:
        return HistoryAction.ROLLBACK
    if running is None:
        return HistoryAction.INSTALL
    return HistoryAction.CONFIGURE if running == revision.chart_version else HistoryAction.UPGRADE


def _conditions(report: Report, summary: Summary) -> tuple[Condition, ...]:
    decision, nodes = report.decision, report.nodes
    made: list[tuple[ConditionType, Truth, Reason, str]] = [
        (ConditionType.READY, summary.ready, summary.reason, summary.message)
    ]
    if summary.working:
        made.append((ConditionType.RECONCILING, "True", summary.reason, summary.message))
    if summary.stalled:
        made.append((ConditionType.STALLED, "True", summary.reason, summary.message))
    if decision.violations:
        message = all_named((*decision.violations, *report.warnings))
        made.append((ConditionType.VALID, "False", decision.violations[0].reason, message))
    elif report.warnings:
        message = f"the spec breaks no rule; to be looked at: {all_named(report.warnings)}"
        made.append((ConditionType.VALID, "True", Reason.ACCEPTED, message))
    else:
        made.append((ConditionType.VALID, "True", Reason.ACCEPTED, "the spec breaks no rule"))
    if report.preflight is not None:
        made.append(_of_the_preflight(report.preflight))
    if report.in_sync:
        made.append((ConditionType.RELEASED, "True", Reason.IN_SYNC, f"Cilium {report.target} is released"))
    else:
        made.append((ConditionType.RELEASED, "False", decision.reason, decision.message))
    if nodes.failing:
        message = named(nodes.failing) + _forecast(report)
        made.append((ConditionType.NODES_READY, "False", _nodes_reason(nodes), message))
    elif nodes.total == 0:
        made.append((ConditionType.NODES_READY, "True", Reason.NO_HYBRID_NODES, "no hybrid node has joined"))
    else:
        made.append((ConditionType.NODES_READY, "True", Reason.IN_SYNC, f"{nodes.total} of {nodes.total} nodes pass"))
    return tuple(
        since(
            report.previous.conditions,
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message,
                observed_generation=report.generation,
                last_transition_time=report.now,
            ),
        )
        for kind, status, reason, message in made
    )


def _of_the_preflight(preflight: PreflightStatus) -> tuple[ConditionType, Truth, Reason, str]:
    told = f"Cilium {preflight.version}: {preflight.ready} of {preflight.expected} nodes passed"
    if preflight.findings:
        told += f"; {'; '.join(preflight.findings)}"
    match preflight.result:
        case PreflightResult.PASSED:
            return ConditionType.PREFLIGHT_PASSED, "True", Reason.PREFLIGHT_PASSED, told
        case PreflightResult.FAILED:
            return ConditionType.PREFLIGHT_PASSED, "False", Reason.PREFLIGHT_FAILED, told
        case PreflightResult.RUNNING:
            return ConditionType.PREFLIGHT_PASSED, "Unknown", Reason.PREFLIGHT_RUNNING, told
        case unknown:
            assert_never(unknown)


def _nodes_reason(nodes: NodesVerdict) -> Reason:
    return Reason.NODES_NOT_READY if nodes.connected_failing else Reason.NODES_DISCONNECTED
