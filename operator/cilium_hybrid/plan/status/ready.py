"""Condition `Ready` and the phase: what blocks, else the state of the Cilium operator, the agents and the nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cilium_hybrid.api.conditions import ConditionType, Reason, find_condition
from cilium_hybrid.api.status import Phase, UnreadyNode
from cilium_hybrid.plan.actions import Nothing
from cilium_hybrid.plan.inputs import Evaluation, SpecEvaluation
from cilium_hybrid.plan.status.history import history
from cilium_hybrid.plan.status.ipam import IpamUsage
from cilium_hybrid.plan.status.nodes import NodeReadiness, describe_unready
from cilium_hybrid.rules.text import count_of, list_names

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What `Ready` reports, and whether `Reconciling` or `Stalled` stand beside it."""

    ready: Truth
    reason: Reason
    message: str
    phase: Phase
    reconciling: bool = False
    stalled: bool = False


def summarize(evaluation: Evaluation, nodes: NodeReadiness, ipam: IpamUsage | None, findings: Sequence[str]) -> Summary:
    """Return what blocks, if anything does; else the state of the nodes."""
    decision = evaluation.decision
    if decision.reason is Reason.SUSPENDED:
        ready: Truth = "True" if _was_ready(evaluation) else "False"
        return Summary(ready, decision.reason, decision.message, Phase.SUSPENDED)
    if decision.reason in {Reason.DELETING, Reason.DELETION_BLOCKED}:
        return Summary("False", decision.reason, decision.message, Phase.DELETING, reconciling=True)
    if decision.stalled:
        return Summary("False", decision.reason, decision.message, Phase.BLOCKED, stalled=True)
    if decision.reason is Reason.IN_SYNC or (decision.reason is Reason.ROLLING_OUT and _is_settled(evaluation)):
        return _summarize_nodes(evaluation, nodes, _remarks(evaluation, ipam, findings))
    if decision.reason is Reason.INSTALLING or _is_first_rollout(evaluation):
        message = decision.message + forecast(ipam)
        return Summary("False", Reason.INSTALLING, message, Phase.INSTALLING, reconciling=True)
    if decision.reason is Reason.ROLLING_OUT:
        message = decision.message + forecast(ipam)
        return Summary("False", Reason.ROLLING_OUT, message, Phase.UPGRADING, reconciling=True)
    if decision.reason is Reason.PREFLIGHT_RUNNING:
        phase = Phase.PREFLIGHT
    elif decision.reason is Reason.ROLLING_BACK:
        phase = Phase.ROLLING_BACK
    elif not isinstance(decision.action, Nothing):
        phase = Phase.UPGRADING
    else:
        phase = Phase.BLOCKED
    return Summary("False", decision.reason, decision.message, phase, reconciling=True)


def target_version(evaluation: Evaluation) -> str | None:
    """Return the version that the spec asks for, as far as it can be read."""
    if isinstance(evaluation, SpecEvaluation):
        return evaluation.spec.version
    version = evaluation.input.resource.spec.get("version")
    return version if isinstance(version, str) else None


def forecast(ipam: IpamUsage | None) -> str:
    """Return what to do before the pools run out, to be appended to a message; empty if enough blocks are free."""
    return f"; {ipam.forecast}" if ipam is not None and ipam.forecast else ""


def _summarize_nodes(evaluation: Evaluation, nodes: NodeReadiness, remarks: str) -> Summary:
    """The rollout is over; whether Cilium runs depends on the agents and the nodes."""
    now, version = evaluation.now, target_version(evaluation)
    if nodes.total == 0:
        message = f"Cilium {version} is deployed; waiting for the first hybrid node to join"
        return Summary("True", Reason.NO_HYBRID_NODES, message, Phase.READY)
    if nodes.caused_by_cilium(now) or nodes.outdated_past_grace(now):
        message = _describe_nodes(version, nodes, nodes.connected_unready) + remarks
        return Summary("False", Reason.NODES_NOT_READY, message, Phase.DEGRADED, stalled=True)
    message = _describe_nodes(version, nodes, nodes.unready) + remarks
    if nodes.grace_ends_at(now) is not None:
        return Summary("True", Reason.NODES_JOINING, message, Phase.READY)
    if nodes.disconnected:
        return Summary("True", Reason.NODES_DISCONNECTED, message, Phase.READY)
    return Summary("True", Reason.IN_SYNC, message, Phase.READY)


def _is_first_rollout(evaluation: Evaluation) -> bool:
    """Whether the agents start for the first time, which is part of the install."""
    return evaluation.decision.reason is Reason.ROLLING_OUT and _is_first(evaluation)


def _is_first(evaluation: Evaluation) -> bool:
    entries = history(evaluation.previous.history, evaluation.observation.revisions, evaluation.record)
    return [entry.result for entry in entries].count("Succeeded") <= 1


def _describe_nodes(version: str | None, nodes: NodeReadiness, unready: Sequence[UnreadyNode]) -> str:
    """Return on how many nodes the version runs, and why it does not on the others."""
    running = nodes.total - len(nodes.unready) - len(nodes.outdated)
    causes = [describe_unready(unready)] if unready else []
    if nodes.outdated:
        causes.append(f"{list_names(sorted(nodes.outdated))} (agent runs an outdated configuration)")
    message = f"Cilium {version} runs on {running} of {nodes.total} hybrid nodes"
    return f"{message}: {'; '.join(causes)}" if causes else message


def _remarks(evaluation: Evaluation, ipam: IpamUsage | None, findings: Sequence[str]) -> str:
    """Return what needs attention but blocks nothing, to be appended to a message."""
    outlook = forecast(ipam)
    warnings, others = len(evaluation.warnings), len(findings) - bool(outlook)
    remarks = outlook
    if warnings:
        remarks += f" ({count_of(warnings, 'warning', 'warnings')}, see condition Valid)"
    if others:
        remarks += f" ({count_of(others, 'finding', 'findings')}, see status.findings)"
    return remarks


def _was_ready(evaluation: Evaluation) -> bool:
    ready = find_condition(evaluation.previous.conditions, ConditionType.READY)
    return ready is not None and ready.status == "True"


def _is_settled(evaluation: Evaluation) -> bool:
    """Whether this generation has been Ready: from then on, an unready node does not question the release."""
    ready = find_condition(evaluation.previous.conditions, ConditionType.READY)
    if ready is None or ready.observed_generation != evaluation.generation:
        return False
    return ready.status == "True" or ready.reason is Reason.NODES_NOT_READY
