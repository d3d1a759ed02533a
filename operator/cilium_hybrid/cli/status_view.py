"""What `cilium-hybrid status` tells, as values: how the resource stands, and every hybrid node with its leg."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cilium_hybrid.api.conditions import ConditionType
from cilium_hybrid.api.status import Nodes, Status, UnreadyReason, parse_status
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import released_digest
from cilium_hybrid.plan.status.nodes import evaluate_nodes

if TYPE_CHECKING:
    from cilium_hybrid.adapters.kube.status_watch import Snapshot

READY: Final = 0
NOT_READY: Final = 1
"""Exit codes."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The condition Ready, as the API holds it; `current`: it speaks of the present generation."""

    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    current: bool = False


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A hybrid node: the leg that it fails, if any, and since when the operator knows."""

    name: str
    reason: UnreadyReason | None = None
    message: str = ""
    since: datetime | None = None
    pod_cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """All that is told.

    `status` is None where this command cannot read what the operator wrote. `forbidden`: why `rows` are only those of
    the status. `lost`: why all of it may be old.
    """

    resource: Resource
    ready: Ready
    status: Status | None
    nodes: Nodes
    rows: tuple[NodeRow, ...]
    forbidden: str = ""
    lost: str = ""


def view(snapshot: "Snapshot", now: datetime) -> View:
    """What is seen, judged as the operator judges it."""
    resource = snapshot.resource
    status = parse_status(resource.status)
    known = Status() if status is None else status
    if snapshot.observation is None:
        nodes = known.nodes
        rows = tuple(NodeRow(node.name, node.reason, node.message, node.since) for node in nodes.unready)
    else:
        nodes, rows = _judged(snapshot.observation, known, now)
    return View(resource, ready_of(resource), status, nodes, rows, snapshot.forbidden, snapshot.lost)


def exit_code(told: View) -> int:
    """Ready counts where it speaks of the present generation."""
    return READY if told.ready.status == "True" and told.ready.current else NOT_READY


def document(told: View) -> dict[str, Any]:
    """The same for programs: the status as the API holds it, and every node."""
    notes = {"incomplete": told.forbidden, "stale": told.lost}
    return {
        "generation": told.resource.generation,
        "ready": exit_code(told) == READY,
        "status": dict(told.resource.status),
        "nodes": [_entry(row) for row in told.rows],
        **{key: note for key, note in notes.items() if note},
    }


def _entry(row: NodeRow) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": row.name, "ready": row.reason is None}
    if row.reason is not None:
        entry |= {"reason": str(row.reason), "message": row.message}
    if row.since is not None:
        entry["since"] = instant(row.since)
    if row.pod_cidrs:
        entry["podCIDRs"] = list(row.pod_cidrs)
    return entry


def instant(moment: datetime) -> str:
    """A moment as Kubernetes writes it."""
    return moment.isoformat().replace("+00:00", "Z")


def ready_of(resource: Resource) -> Ready:
    """What Ready says, in known words or not."""
    conditions = resource.status.get("conditions") or []
    found = next((one for one in conditions if one.get("type") == ConditionType.READY), None)
    if found is None:
        return Ready()
    current = found["observedGeneration"] == resource.generation
    return Ready(found["status"], found["reason"], found["message"], current)


def _judged(observation: Observation, known: Status, now: datetime) -> tuple[Nodes, tuple[NodeRow, ...]]:
    """Every node, those that fail first; since when they do is for the operator to know."""
    since = {(node.name, node.reason): node.since for node in known.nodes.unready}
    verdict = evaluate_nodes(observation, released_digest(observation), since, now)
    failing = {node.name: node for node in verdict.failing}
    well = sorted(name for name in observation.nodes if name not in failing)
    rows = [
        NodeRow(one.name, one.reason, one.message, since.get((one.name, one.reason)), _blocks(observation, one.name))
        for one in verdict.failing
    ]
    return verdict.report(), (*rows, *(NodeRow(name, pod_cidrs=_blocks(observation, name)) for name in well))


def _blocks(observation: Observation, name: str) -> tuple[str, ...]:
    node = observation.cilium_nodes.get(name)
    return () if node is None else node.pod_cidrs
