"""What `cilium-hybrid status` shows, as values: the resource, and every hybrid node with the reason it is not ready."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cilium_hybrid.api.conditions import ConditionType
from cilium_hybrid.api.status import Nodes, Status, UnreadyReason, parse_status
from cilium_hybrid.cli.options import ExitCode
from cilium_hybrid.plan.inputs import Resource, Since
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import released_digest
from cilium_hybrid.plan.status.nodes import evaluate_nodes

if TYPE_CHECKING:
    from cilium_hybrid.adapters.kube.status_watch import Snapshot


OUTDATED: Final = "agent runs an outdated configuration"


@dataclass(frozen=True, slots=True)
class ReadyCondition:
    """The condition Ready as the API server holds it; `current` if it was observed at the current generation."""

    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    current: bool = False


@dataclass(frozen=True, slots=True)
class NodeState:
    """A hybrid node: why it is not ready, if it is not, and since when the operator has reported that reason.

    The message of a ready node says that its agent is waiting for an update.
    """

    name: str
    reason: UnreadyReason | None = None
    message: str = ""
    since: datetime | None = None
    pod_cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is shown.

    `status` is None if this version of the command cannot parse it. `forbidden` says why `node_states` has only the
    nodes in the status. `lost` says why all of it may be out of date.
    """

    resource: Resource
    ready: ReadyCondition
    status: Status | None
    nodes: Nodes
    node_states: tuple[NodeState, ...]
    forbidden: str = ""
    lost: str = ""


def build_view(snapshot: "Snapshot", now: datetime) -> View:
    """Return what a snapshot shows; nodes are evaluated as the operator evaluates them."""
    resource = snapshot.resource
    status = parse_status(resource.status)
    readable = Status() if status is None else status
    if snapshot.observation is None:
        nodes = readable.nodes
        states = tuple(NodeState(node.name, node.reason, node.message, node.since) for node in nodes.unready)
    else:
        nodes, states = _evaluate(snapshot.observation, readable, now)
    return View(resource, ready_condition(resource), status, nodes, states, snapshot.forbidden, snapshot.stale_reason)


def is_ready(view: View) -> bool:
    """Whether Ready is True at the current generation."""
    return view.ready.status == "True" and view.ready.current


def exit_code(view: View) -> int:
    """Return 0 if the resource is ready, 1 if it is not, 2 if that is not known because the view may be out of date."""
    if view.lost:
        return ExitCode.UNKNOWN
    return 0 if is_ready(view) else ExitCode.FAILED


def to_document(view: View) -> dict[str, Any]:
    """Return the view for programs: the status as the API server holds it, and every node."""
    notes = {"incomplete": view.forbidden, "stale": view.lost}
    return {
        "generation": view.resource.generation,
        "ready": is_ready(view),
        "status": dict(view.resource.status),
        "nodes": [_node_entry(state) for state in view.node_states],
        **{key: note for key, note in notes.items() if note},
    }


def _node_entry(state: NodeState) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": state.name, "ready": state.reason is None}
    if state.reason is not None:
        entry["reason"] = str(state.reason)
    if state.message:
        entry["message"] = state.message
    if state.since is not None:
        entry["since"] = format_time(state.since)
    if state.pod_cidrs:
        entry["podCIDRs"] = list(state.pod_cidrs)
    return entry


def format_time(moment: datetime) -> str:
    """Return a time as Kubernetes writes it (RFC 3339, UTC)."""
    return moment.isoformat().replace("+00:00", "Z")


def ready_condition(resource: Resource) -> ReadyCondition:
    """Return the condition Ready from the raw status, so that an unknown reason is kept."""
    conditions = resource.status.get("conditions") or []
    ready = next((raw for raw in conditions if raw.get("type") == ConditionType.READY), None)
    if ready is None:
        return ReadyCondition()
    current = ready["observedGeneration"] == resource.generation
    return ReadyCondition(ready["status"], ready["reason"], ready["message"], current)


def _evaluate(observation: Observation, status: Status, now: datetime) -> tuple[Nodes, tuple[NodeState, ...]]:
    """Return every node, unready ones first; only the operator knows since when they are unready."""
    since: Since = {(node.name, node.reason): node.since for node in status.nodes.unready}
    readiness = evaluate_nodes(observation, released_digest(observation), since, now)
    unready = [
        NodeState(
            node.name,
            node.reason,
            node.message,
            since.get((node.name, node.reason)),
            _pod_cidrs(observation, node.name),
        )
        for node in readiness.unready
    ]
    names, outdated = {state.name for state in unready}, frozenset(readiness.outdated)
    ready = [
        NodeState(name, message=OUTDATED if name in outdated else "", pod_cidrs=_pod_cidrs(observation, name))
        for name in sorted(observation.nodes)
        if name not in names
    ]
    return readiness.to_status(), (*unready, *ready)


def _pod_cidrs(observation: Observation, name: str) -> tuple[str, ...]:
    node = observation.cilium_nodes.get(name)
    return () if node is None else node.pod_cidrs
