"""The status of the resource, built from an evaluation."""

from typing import assert_never

from cilium_hybrid.api.conditions import Condition, ConditionType, Reason, find_condition, keep_transition_time
from cilium_hybrid.api.status import (
    PlanStep,
    PreflightResult,
    PreflightStatus,
    Release,
    RolloutStatus,
    Status,
    UnreadyReason,
    Version,
)
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Apply, Rollback
from cilium_hybrid.plan.classify import ReleaseClass, classify
from cilium_hybrid.plan.inputs import OUTDATED, Evaluation, Since, SpecEvaluation
from cilium_hybrid.plan.running import initial_version, last_deployed
from cilium_hybrid.plan.status.certificates import certificate_findings
from cilium_hybrid.plan.status.drift import drift_findings, drift_status
from cilium_hybrid.plan.status.findings import findings
from cilium_hybrid.plan.status.history import history
from cilium_hybrid.plan.status.ipam import IpamUsage, evaluate_ipam
from cilium_hybrid.plan.status.nodes import JOINING_GRACE, NodeReadiness, describe_unready, evaluate_nodes
from cilium_hybrid.plan.status.ready import Summary, Truth, forecast, summarize, target_version
from cilium_hybrid.plan.status.upgrade_plan import plan_steps
from cilium_hybrid.plan.upgrade.gates import preflight_status
from cilium_hybrid.plan.upgrade.path import newest_patch
from cilium_hybrid.plan.validate import other_ciliums
from cilium_hybrid.rules.rule import join_violations
from cilium_hybrid.rules.text import count_of

_ConditionFacts = tuple[ConditionType, Truth, Reason, str]


def node_readiness(evaluation: Evaluation) -> NodeReadiness:
    """Evaluate every hybrid node.

    After a restart, the previous status tells since when the nodes that it names have been unready.
    """
    reported: Since = {(node.name, node.reason): node.since for node in evaluation.previous.nodes.unready}
    unready_since = {**_outdated_before_restart(evaluation), **reported, **evaluation.input.unready_since}
    return evaluate_nodes(evaluation.observation, evaluation.config_digest, unready_since, evaluation.now)


def _outdated_before_restart(evaluation: Evaluation) -> Since:
    """Return since when nodes have been outdated at the latest, if `Ready` is False after a restart because of nodes.

    The status does not name outdated nodes. Without this, their grace period would start again and `Ready` turn True.
    """
    ready = find_condition(evaluation.previous.conditions, ConditionType.READY)
    if evaluation.input.unready_since or ready is None or ready.status != "False":
        return {}
    if ready.reason is not Reason.NODES_NOT_READY:
        return {}
    since = ready.last_transition_time - JOINING_GRACE
    return {(name, OUTDATED): since for name in evaluation.observation.nodes}


def build_status(evaluation: Evaluation, nodes: NodeReadiness) -> Status:
    """Return the new status; it equals the previous one if nothing changed."""
    observation, previous = evaluation.observation, evaluation.previous
    initial, deployed = initial_version(observation), last_deployed(observation)
    running = deployed.chart_version if deployed is not None and deployed.managed else None
    ipam = _ipam(evaluation, nodes)
    found = _findings(evaluation, ipam)
    preflight = preflight_status(evaluation.decision, evaluation.preflight)
    summary = summarize(evaluation, nodes, ipam, found)
    plan, plan_digest = _plan(evaluation)
    return Status(
        observed_generation=evaluation.generation,
        phase=summary.phase,
        version=Version(
            running=running,
            target=target_version(evaluation),
            initial=None if initial is None else CiliumVersion.parse(initial).series,
            latest_patch=_latest_patch(evaluation, running),
        ),
        release=_release(evaluation),
        plan=plan,
        plan_digest=plan_digest,
        preflight=preflight,
        nodes=nodes.to_status(),
        rollout=_rollout(evaluation),
        ipam=None if ipam is None else ipam.ipam,
        drift=drift_status(observation, evaluation.input.differences, previous.drift),
        findings=found,
        history=history(previous.history, observation.revisions, evaluation.record),
        conditions=_conditions(evaluation, nodes, summary, preflight, forecast(ipam)),
    )


def _ipam(evaluation: Evaluation, nodes: NodeReadiness) -> IpamUsage | None:
    observation, action = evaluation.observation, evaluation.decision.action
    release = classify(observation)
    if release is ReleaseClass.NOT_OWNED or (release.absent and other_ciliums(observation)):
        # Someone else's pools do not limit the spec.
        return None
    return evaluate_ipam(
        observation,
        evaluation.input.lenient_spec,
        evaluation.now,
        advise=not release.foreign,
        announced=action.record if isinstance(action, Apply | Rollback) else None,
        absent={node.name: node.since for node in nodes.unready if node.reason is UnreadyReason.NODE_DISCONNECTED},
    )


def _findings(evaluation: Evaluation, ipam: IpamUsage | None) -> tuple[str, ...]:
    observation, spec = evaluation.observation, evaluation.input.lenient_spec
    certificates = certificate_findings(observation, spec, evaluation.now)
    return findings(
        observation,
        ipam,
        certificates,
        drift_findings(evaluation.input.differences),
        evaluation.rollout.findings,
        rebuilt=evaluation.record.rebuilt,
    )


def _plan(evaluation: Evaluation) -> tuple[tuple[PlanStep, ...], str | None]:
    """Return the plan and its digest; while the spec is invalid, the previous ones."""
    previous = evaluation.previous
    if evaluation.input.resource.deleting:
        return (), None
    if evaluation.violations or not isinstance(evaluation, SpecEvaluation):
        return previous.plan, previous.plan_digest
    plan = plan_steps(evaluation)
    return plan, evaluation.upgrade_path.digest if plan else None


def _rollout(evaluation: Evaluation) -> RolloutStatus | None:
    """Return the progress of the rollout; while a watch is lost, the last one that is known."""
    return evaluation.previous.rollout if evaluation.observation.lost_watches else evaluation.rollout.status


def _latest_patch(evaluation: Evaluation, running: str | None) -> str | None:
    """Return the newest patch; the one found last stays if none was found since, such as after a restart."""
    before, chart_versions = evaluation.previous.version, evaluation.input.chart_versions
    if running is None or chart_versions is None:
        return before.latest_patch if before.running == running else None
    newest = newest_patch(CiliumVersion.parse(running), chart_versions)
    return None if newest is None else str(newest)


def _release(evaluation: Evaluation) -> Release | None:
    newest, record = evaluation.observation.newest, evaluation.observation.record
    if newest is None or not newest.managed:
        return None
    recorded = record is not None and record.revision == newest.number
    return Release(
        revision=newest.number,
        status=newest.status,
        chart=record.chart_ref if record is not None and recorded else _chart_ref(evaluation),
        chart_digest=newest.chart_digest,
        values_digest=newest.values_digest,
    )


def _chart_ref(evaluation: Evaluation) -> str:
    if isinstance(evaluation, SpecEvaluation):
        return evaluation.spec.chart.ref
    return "" if evaluation.previous.release is None else evaluation.previous.release.chart


def _conditions(
    evaluation: Evaluation, nodes: NodeReadiness, summary: Summary, preflight: PreflightStatus | None, outlook: str
) -> tuple[Condition, ...]:
    facts: list[_ConditionFacts] = [(ConditionType.READY, summary.ready, summary.reason, summary.message)]
    if summary.reconciling:
        facts.append((ConditionType.RECONCILING, "True", summary.reason, summary.message))
    if summary.stalled:
        facts.append((ConditionType.STALLED, "True", summary.reason, summary.message))
    facts.append(_valid(evaluation))
    if preflight is not None:
        facts.append(_preflight_passed(preflight))
    facts += [_released(evaluation), _nodes_ready(nodes, outlook)]
    return tuple(
        keep_transition_time(
            evaluation.previous.conditions,
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message,
                observed_generation=evaluation.generation,
                last_transition_time=evaluation.now,
            ),
        )
        for kind, status, reason, message in facts
    )


def _valid(evaluation: Evaluation) -> _ConditionFacts:
    violations, warnings = evaluation.decision.violations, evaluation.warnings
    if violations:
        return ConditionType.VALID, "False", violations[0].reason, join_violations((*violations, *warnings))
    warned = f"; {count_of(len(warnings), 'warning', 'warnings')}: {join_violations(warnings)}" if warnings else ""
    return ConditionType.VALID, "True", Reason.ACCEPTED, f"spec is valid{warned}"


def _preflight_passed(preflight: PreflightStatus) -> _ConditionFacts:
    message = f"Cilium {preflight.version}: {preflight.ready} of {preflight.expected} nodes passed"
    if preflight.findings:
        message += f"; {'; '.join(preflight.findings)}"
    match preflight.result:
        case PreflightResult.PASSED:
            return ConditionType.PREFLIGHT_PASSED, "True", Reason.PREFLIGHT_PASSED, message
        case PreflightResult.FAILED:
            return ConditionType.PREFLIGHT_PASSED, "False", Reason.PREFLIGHT_FAILED, message
        case PreflightResult.RUNNING:
            return ConditionType.PREFLIGHT_PASSED, "Unknown", Reason.PREFLIGHT_RUNNING, message
        case unknown:
            assert_never(unknown)


def _released(evaluation: Evaluation) -> _ConditionFacts:
    if evaluation.in_sync:
        message = f"Cilium {target_version(evaluation)} is deployed"
        return ConditionType.RELEASED, "True", Reason.IN_SYNC, message
    return ConditionType.RELEASED, "False", evaluation.decision.reason, evaluation.decision.message


def _nodes_ready(nodes: NodeReadiness, outlook: str) -> _ConditionFacts:
    if nodes.unready:
        reason = Reason.NODES_NOT_READY if nodes.connected_unready else Reason.NODES_DISCONNECTED
        return ConditionType.NODES_READY, "False", reason, describe_unready(nodes.unready) + outlook
    if nodes.total == 0:
        return ConditionType.NODES_READY, "True", Reason.NO_HYBRID_NODES, "no hybrid node has joined"
    message = f"{nodes.total} of {nodes.total} hybrid nodes are ready"
    return ConditionType.NODES_READY, "True", Reason.IN_SYNC, message
