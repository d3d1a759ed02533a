"""A status as text: lines with a label each, and a table of nodes; the same for a file, a pipe and a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from cilium_hybrid.api.conditions import ConditionType, Reason, find_condition
from cilium_hybrid.api.status import (
    Phase,
    PlanPhase,
    PreflightResult,
    PreflightStatus,
    RolloutStatus,
    Status,
    UnreadyReason,
)
from cilium_hybrid.cli.status_view import NodeState, View, format_time
from cilium_hybrid.rules.text import list_names

HEADER: Final = ("NODE", "STATE", "SINCE", "DETAIL")
READY: Final = "Ready"
_STATE_WIDTH: Final = max(len(reason) for reason in UnreadyReason)
_SINCE_WIDTH: Final = len("2026-01-02T03:04:05Z")
_MAX_NAMES: Final = 10


class Level(StrEnum):
    """How a line is highlighted."""

    INFO = "info"
    OK = "ok"
    PENDING = "pending"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class FactLine:
    """One fact. `progress` is (done, total) for a progress bar; the text says the same."""

    label: str
    text: str
    level: Level = Level.INFO
    progress: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{self.label}: {self.text}"


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One hybrid node."""

    name: str
    state: str
    since: str
    detail: str
    level: Level


@dataclass(frozen=True, slots=True)
class PlainLine:
    """A line of text, and the part of it that makes it worth printing again when it changes."""

    text: str
    content: str


def fact_lines(view: View, now: datetime | None = None) -> tuple[FactLine, ...]:
    """Return everything but the nodes, Ready first. Times are shown as an age if `now` is given."""
    return tuple(_printable(line) for line in _fact_lines(view, now))


def node_rows(view: View, now: datetime | None = None) -> tuple[NodeRow, ...]:
    """Return every node, unready ones first."""
    return tuple(_node_row(state, now) for state in view.node_states)


def plain_lines(view: View) -> list[PlainLine]:
    """Return all of it as lines of text, with columns of fixed width."""
    lines = [PlainLine(str(line), str(line)) for line in fact_lines(view)]
    if rows := node_rows(view):
        width = max(len(row.name) for row in rows)
        lines += [PlainLine("", ""), PlainLine(_columns(*HEADER, width=width), "")]
        for row in rows:
            text = _columns(row.name, row.state, row.since, row.detail, width=width)
            # The operator writes the time a moment later than the failure: that alone is not a change.
            lines.append(PlainLine(text, f"{row.name} {row.state} {row.detail}"))
    return lines


def changed_lines(before: Sequence[PlainLine], after: Sequence[PlainLine]) -> list[str]:
    """Return the lines whose content is new."""
    known = frozenset(line.content for line in before)
    return [line.text for line in after if line.content not in known]


def plan_lines(status: Status) -> tuple[FactLine, ...]:
    """Return what is approved: the versions, the steps with their notes, and the digest of the plan."""
    lines = (*_version_lines(status), *_step_lines(status), FactLine("digest", str(status.plan_digest)))
    return tuple(_printable(line) for line in lines)


def awaits_approval(status: Status) -> bool:
    """Whether the plan has to be approved before the operator continues."""
    ready = find_condition(status.conditions, ConditionType.READY)
    return ready is not None and ready.reason is Reason.AWAITING_APPROVAL and status.plan_digest is not None


def to_plain_text(text: str) -> str:
    """Replace control characters, which terminals execute: messages come from kubelets, charts and registries."""
    return "".join(character if character.isprintable() else " " for character in text)


def _columns(name: str, state: str, since: str, detail: str, *, width: int) -> str:
    return f"{name:<{width}}  {state:<{_STATE_WIDTH}}  {since:<{_SINCE_WIDTH}}  {detail}".rstrip()


def _fact_lines(view: View, now: datetime | None) -> Iterator[FactLine]:
    ready = _ready_line(view)
    if view.lost:
        ready = FactLine("Ready", f"Unknown: {view.lost}; last known: {ready.text}", Level.ERROR)
    yield ready
    if view.status is None:
        message = "written by an operator of a different version; use --output json to see it"
        yield FactLine("status", message, Level.ERROR)
    else:
        yield from _status_lines(view.status, now)
    if (pool := _pool_line(view.resource.status)) is not None:
        yield pool
    findings = view.resource.status.get("findings") or ()
    yield from (FactLine("finding", str(finding), Level.PENDING) for finding in findings)
    yield _nodes_line(view)
    if view.forbidden:
        yield FactLine("partial", f"only unready nodes, at most 10: {view.forbidden}", Level.PENDING)


def _ready_line(view: View) -> FactLine:
    ready = view.ready
    if not ready.reason:
        return FactLine("Ready", "Unknown: no status yet; check that the operator runs", Level.PENDING)
    text = f"{ready.status} {ready.reason}: {ready.message}"
    if not ready.current:
        unknown = f"Unknown: the operator has not observed generation {view.resource.generation} yet"
        return FactLine("Ready", f"{unknown}; last known: {text}", Level.PENDING)
    if ready.status == "True":
        return FactLine("Ready", text, Level.OK)
    return FactLine("Ready", text, Level.ERROR if _has_failed(view.status) else Level.PENDING)


def _has_failed(status: Status | None) -> bool:
    if status is None:
        return False
    stalled = find_condition(status.conditions, ConditionType.STALLED)
    return status.phase is Phase.DEGRADED or stalled is not None


def _status_lines(status: Status, now: datetime | None) -> Iterator[FactLine]:
    if status.phase is not None:
        yield FactLine("phase", status.phase)
    if (valid := find_condition(status.conditions, ConditionType.VALID)) is not None:
        level = Level.INFO if valid.status == "True" else Level.ERROR
        yield FactLine("Valid", f"{valid.status} {valid.reason}: {valid.message}", level)
    yield from _version_lines(status)
    if status.release is not None:
        release = status.release
        yield FactLine("release", f"revision {release.revision}, {release.status}, {release.chart}")
    yield from _step_lines(status)
    if awaits_approval(status):
        text = f"required for plan {status.plan_digest}; run cilium-hybrid approve"
        yield FactLine("approval", text, Level.PENDING)
    if status.preflight is not None:
        yield from _preflight_lines(status.preflight)
    if status.rollout is not None:
        yield _rollout_line(status.rollout, now)


def _version_lines(status: Status) -> Iterator[FactLine]:
    version = status.version
    parts = []
    if version.running is not None:
        parts.append(f"{version.running} running")
    if version.target not in {None, version.running}:
        parts.append(f"{version.target} target")
    if version.initial is not None:
        parts.append(f"first installed {version.initial}")
    if parts:
        yield FactLine("version", ", ".join(parts))


def _step_lines(status: Status) -> Iterator[FactLine]:
    for step in status.plan:
        level = {PlanPhase.DONE: Level.OK, PlanPhase.PENDING: Level.INFO}.get(step.phase, Level.PENDING)
        yield FactLine("plan", f"{step.version}: {step.phase}", level)
        yield from (FactLine("note", f"{step.version}: {note}") for note in step.notes)


def _preflight_lines(preflight: PreflightStatus) -> Iterator[FactLine]:
    levels = {PreflightResult.PASSED: Level.OK, PreflightResult.FAILED: Level.ERROR}
    level = levels.get(preflight.result, Level.PENDING)
    counts = f"{preflight.ready} of {preflight.expected} nodes ready"
    progress = (preflight.ready, preflight.expected) if preflight.result is PreflightResult.RUNNING else None
    yield FactLine("preflight", f"{preflight.version} {preflight.result}: {counts}", level, progress)
    yield from (FactLine("preflight", finding, level) for finding in preflight.findings)


def _rollout_line(rollout: RolloutStatus, now: datetime | None) -> FactLine:
    parts = [f"{rollout.updated} of {rollout.total} nodes updated"]
    if rollout.current:
        parts.append(f"updating {list_names(rollout.current, _MAX_NAMES)}")
    if rollout.unhealthy_before:
        parts.append(f"unhealthy before the rollout: {list_names(rollout.unhealthy_before, _MAX_NAMES)}")
    parts.append(f"last progress {_time_or_age(rollout.last_progress_at, now)}")
    return FactLine("rollout", "; ".join(parts), Level.PENDING, (rollout.updated, rollout.total))


def _pool_line(status: Mapping[str, Any]) -> FactLine | None:
    """Return the usage of the cluster pool, read from the raw status: that works with any operator version."""
    ipam = status.get("ipam") or {}
    blocks = ipam.get("nodeBlocks")
    if not blocks:
        return None
    total, used, free = (int(blocks.get(key, 0)) for key in ("total", "used", "free"))
    parts = [f"{used} of {total} node blocks used, {free} free"]
    if pods := ipam.get("podsPerNode"):
        parts.append(f"{pods} pods per node")
    if exhausted := ipam.get("exhausted"):
        parts.append(f"exhausted: {list_names([str(name) for name in exhausted], _MAX_NAMES)}")
    level = Level.ERROR if exhausted or free <= 0 else Level.INFO
    return FactLine("pool", "; ".join(parts), level, (used, total))


def _nodes_line(view: View) -> FactLine:
    nodes = view.nodes
    parts = [f"{nodes.ready} of {nodes.total} ready"]
    if nodes.total:
        parts += [f"{nodes.agents_ready} agents ready", f"{nodes.up_to_date} up to date"]
    if nodes.disconnected:
        parts.append(f"{nodes.disconnected} disconnected")
    return FactLine("nodes", ", ".join(parts), Level.OK if nodes.ready == nodes.total else Level.PENDING)


def _node_row(state: NodeState, now: datetime | None) -> NodeRow:
    since = "" if state.since is None else _time_or_age(state.since, now)
    if state.reason is None:
        detail = state.message or ", ".join(state.pod_cidrs)
        level = Level.PENDING if state.message else Level.OK
        return NodeRow(to_plain_text(state.name), READY, since, to_plain_text(detail), level)
    level = Level.PENDING if state.reason is UnreadyReason.NODE_DISCONNECTED else Level.ERROR
    return NodeRow(to_plain_text(state.name), state.reason, since, to_plain_text(state.message), level)


def _time_or_age(moment: datetime, now: datetime | None) -> str:
    """Return the time itself, or how long ago it was in its largest unit if `now` is given."""
    if now is None:
        return format_time(moment)
    seconds = max(0, int((now - moment) / timedelta(seconds=1)))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def _printable(line: FactLine) -> FactLine:
    return replace(line, text=to_plain_text(line.text))
