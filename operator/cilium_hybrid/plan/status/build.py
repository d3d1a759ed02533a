"""From a decision and what was observed to the status."""

from typing import Final, assert_never

from cilium_hybrid.api.conditions import Condition, ConditionType, Reason, since
from cilium_hybrid.api.status import PreflightResult, PreflightStatus, Release, Status, Version
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Decision
from cilium_hybrid.plan.release import initial_version, last_deployed
from cilium_hybrid.plan.status.drift import drift_of
from cilium_hybrid.plan.status.history import history
from cilium_hybrid.plan.status.nodes import NodeReadiness, named
from cilium_hybrid.plan.status.ready import Summary, Truth, forecast, summarize
from cilium_hybrid.plan.status.report import Report
from cilium_hybrid.plan.upgrade.steps import newest_patch
from cilium_hybrid.rules.rule import join_violations

_HELD_BY_THE_CRD: Final = frozenset({Reason.MASK_CHANGED, Reason.POD_CIDR_REMOVED})


def next_status(report: Report) -> Status:
    """The status after this pass; equal to the previous one where nothing changed."""
    observation, deployed = report.observation, last_deployed(report.observation)
    initial = initial_version(observation)
    running = deployed.chart_version if deployed is not None and deployed.managed else None
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
        drift=drift_of(observation, report.differences, report.previous.drift),
        findings=report.findings,
        history=history(report.previous.history, observation.revisions),
        conditions=_conditions(report, summary),
    )


def _latest_patch(report: Report, running: str | None) -> str | None:
    """What was found last still holds where nothing was found since, as after a restart."""
    before = report.previous.version
    if running is None or report.chart_versions is None:
        return before.latest_patch if before.running == running else None
    newest = newest_patch(CiliumVersion.parse(running), report.chart_versions)
    return None if newest is None else str(newest)


def _release(report: Report) -> Release | None:
    newest, record = report.observation.newest, report.observation.record
    if newest is None or not newest.managed or _traps(report.decision):
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
        message = join_violations((*decision.violations, *report.warnings))
        made.append((ConditionType.VALID, "False", decision.violations[0].reason, message))
    elif report.warnings:
        message = f"the spec breaks no rule; to be looked at: {join_violations(report.warnings)}"
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
        message = named(nodes.failing) + forecast(report)
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


def _nodes_reason(nodes: NodeReadiness) -> Reason:
    return Reason.NODES_NOT_READY if nodes.connected_failing else Reason.NODES_DISCONNECTED
