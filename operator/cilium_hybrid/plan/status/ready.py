"""What `Ready` says, made here and nowhere else: what blocks, else how Cilium's operator, agents and nodes are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cilium_hybrid.api.conditions import ConditionType, Reason, find_condition
from cilium_hybrid.api.status import Phase, UnreadyNode
from cilium_hybrid.plan.actions import Nothing
from cilium_hybrid.plan.rollout.operator_deployment import with_its_trouble
from cilium_hybrid.plan.status.history import history
from cilium_hybrid.plan.status.nodes import named
from cilium_hybrid.plan.status.report import Report

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What `Ready` says."""

    ready: Truth
    reason: Reason
    message: str
    phase: Phase
    working: bool = False
    stalled: bool = False


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
    made = history(report.previous.history, report.observation.revisions)
    if [entry.result for entry in made].count("Succeeded") <= 1:
        return Summary("False", Reason.INSTALLING, message, Phase.INSTALLING, working=True)
    if of_the_release or min(report.nodes.up_to_date, report.nodes.agents_ready) < report.nodes.total:
        return Summary("False", Reason.ROLLING_OUT, message, Phase.UPGRADING, working=True)
    return Summary("False", Reason.NODES_NOT_READY, message, Phase.DEGRADED, working=True)


def _told(report: Report, failing: Sequence[UnreadyNode]) -> str:
    ready = report.nodes.total - len(report.nodes.failing)
    told = f"Cilium {report.target} runs on {ready} of {report.nodes.total} hybrid nodes"
    if failing:
        told += f": {named(failing)}"
    told += forecast(report)
    if report.warnings:
        told += f" ({len(report.warnings)} to be looked at, see condition Valid)"
    if others := len(report.findings) - bool(forecast(report)):
        told += f" ({others} to be looked at, see status.findings)"
    return told


def forecast(report: Report) -> str:
    """What to do before the pools run out, to be put behind a message; empty while there is room."""
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


def _was_ready(report: Report) -> bool:
    ready = find_condition(report.previous.conditions, ConditionType.READY)
    return ready is not None and ready.status == "True"


def _settled(report: Report) -> bool:
    """Whether this generation has been Ready once: from then on a node's trouble is its own."""
    ready = find_condition(report.previous.conditions, ConditionType.READY)
    if ready is None or ready.observed_generation != report.generation:
        return False
    if ready.status == "True":
        return True
    working = find_condition(report.previous.conditions, ConditionType.RECONCILING)
    return ready.reason is Reason.NODES_NOT_READY and working is None
