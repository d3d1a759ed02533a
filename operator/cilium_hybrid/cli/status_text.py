"""How a status reads: lines with a label each, and a table of nodes; the same for a file, a pipe and a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from cilium_hybrid.cli.status_view import NodeRow, View, instant
from cilium_hybrid.rules.text import list_names

HEADER: Final = ("NODE", "STATE", "SINCE", "DETAIL")
WELL: Final = "Ready"
_WIDEST_STATE: Final = max(len(reason) for reason in UnreadyReason)
_WIDEST_SINCE: Final = len("2026-01-02T03:04:05Z")
_NAMED: Final = 10


class Mood(StrEnum):
    """How good the news of a line are."""

    PLAIN = "plain"
    GOOD = "good"
    BUSY = "busy"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Line:
    """One fact. `bar`: so many of so many, which the text has in words as well."""

    label: str
    text: str
    mood: Mood = Mood.PLAIN
    bar: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{self.label}: {self.text}"


@dataclass(frozen=True, slots=True)
class Row:
    """One hybrid node."""

    name: str
    state: str
    since: str
    detail: str
    mood: Mood


@dataclass(frozen=True, slots=True)
class Printed:
    """A plain line, and that of it which is news where it changes."""

    line: str
    status_events: str


def lines(view: View, now: datetime | None = None) -> tuple[Line, ...]:
    """All but the nodes, Ready first. Moments are told as times, or counted from `now`."""
    return tuple(_printable(line) for line in _lines(view, now))


def rows(view: View, now: datetime | None = None) -> tuple[Row, ...]:
    """Every node, those that fail first."""
    return tuple(_row(node, now) for node in view.rows)


def block(view: View) -> list[Printed]:
    """The whole as plain lines, in columns that keep their place."""
    text = [Printed(str(line), str(line)) for line in lines(view)]
    if table := rows(view):
        widest = max(len(row.name) for row in table)
        text += [Printed("", ""), Printed(_columns(*HEADER, widest=widest), "")]
        for row in table:
            line = _columns(row.name, row.state, row.since, row.detail, widest=widest)
            # The operator writes down a moment later since when a node fails: that is not told as another failure.
            text.append(Printed(line, f"{row.name} {row.state} {row.detail}"))
    return text


def changes(before: Sequence[Printed], after: Sequence[Printed]) -> list[str]:
    """The lines that tell something new."""
    known = frozenset(printed.status_events for printed in before)
    return [printed.line for printed in after if printed.status_events not in known]


def proposal(status: Status) -> tuple[Line, ...]:
    """What a person approves: the way, step by step, what to know before each, and the digest of all that."""
    told = (*_versions(status), *_plan(status), Line("digest", str(status.plan_digest)))
    return tuple(_printable(line) for line in told)


def _plan(status: Status) -> Iterator[Line]:
    for step in status.plan:
        mood = {PlanPhase.DONE: Mood.GOOD, PlanPhase.PENDING: Mood.PLAIN}.get(step.phase, Mood.BUSY)
        yield Line("plan", f"{step.version}: {step.phase}", mood)
        yield from (Line("note", f"{step.version}: {note}") for note in step.notes)


def plain(text: str) -> str:
    """One line without what a terminal takes as a command: messages come from kubelets, charts and registries."""
    return "".join(character if character.isprintable() else " " for character in text)


def _columns(name: str, state: str, since: str, detail: str, *, widest: int) -> str:
    return f"{name:<{widest}}  {state:<{_WIDEST_STATE}}  {since:<{_WIDEST_SINCE}}  {detail}".rstrip()


def _lines(view: View, now: datetime | None) -> Iterator[Line]:
    ready = _ready(view)
    yield Line("Ready", f"Unknown: {view.lost}; seen last: {ready.text}", Mood.BAD) if view.lost else ready
    status = view.status
    if status is None:
        yield Line("status", "this command is of another version than the operator; see --output json", Mood.BAD)
    else:
        yield from _of_the_status(status, now)
    if (pool := _pool(view.resource.status)) is not None:
        yield pool
    yield from (Line("to do", str(finding), Mood.BUSY) for finding in view.resource.status.get("findings") or ())
    yield _nodes(view)
    if view.forbidden:
        yield Line("partial", f"only nodes that fail, at most ten: {view.forbidden}", Mood.BUSY)


def _ready(view: View) -> Line:
    ready = view.ready
    if not ready.reason:
        return Line("Ready", "Unknown: the operator has written no status; does it run?", Mood.BUSY)
    text = f"{ready.status} {ready.reason}: {ready.message}"
    if not ready.current:
        stale = f"Unknown: the operator has not looked at generation {view.resource.generation} yet"
        return Line("Ready", f"{stale}; before: {text}", Mood.BUSY)
    if ready.status == "True":
        return Line("Ready", text, Mood.GOOD)
    deployed = view.status is not None and (
        view.status.phase is Phase.DEGRADED or find_condition(view.status.conditions, ConditionType.STALLED) is not None
    )
    return Line("Ready", text, Mood.BAD if deployed else Mood.BUSY)


def _of_the_status(status: Status, now: datetime | None) -> Iterator[Line]:
    if status.phase is not None:
        yield Line("phase", status.phase)
    if (valid := find_condition(status.conditions, ConditionType.VALID)) is not None:
        mood = Mood.PLAIN if valid.status == "True" else Mood.BAD
        yield Line("Valid", f"{valid.status} {valid.reason}: {valid.message}", mood)
    yield from _versions(status)
    if status.release is not None:
        yield Line("release", f"revision {status.release.revision}, {status.release.status}, {status.release.chart}")
    yield from _plan(status)
    if awaits_approval(status):
        yield Line("approval", f"awaited, for plan {status.plan_digest}: cilium-hybrid approve", Mood.BUSY)
    if status.preflight is not None:
        yield from _preflight(status.preflight)
    if status.rollout is not None:
        yield _rollout(status.rollout, now)


def awaits_approval(status: Status) -> bool:
    """Whether a person has to approve the plan before anything is done."""
    ready = find_condition(status.conditions, ConditionType.READY)
    return ready is not None and ready.reason is Reason.AWAITING_APPROVAL and status.plan_digest is not None


def _versions(status: Status) -> Iterator[Line]:
    version = status.version
    said = (
        (version.running, "runs"),
        (version.target if version.target != version.running else None, "is wanted"),
        (version.initial, "was installed first"),
    )
    if text := ", ".join(f"{what} {how}" for what, how in said if what is not None):
        yield Line("version", text)


def _preflight(preflight: PreflightStatus) -> Iterator[Line]:
    mood = {PreflightResult.PASSED: Mood.GOOD, PreflightResult.FAILED: Mood.BAD}.get(preflight.result, Mood.BUSY)
    counted = f"{preflight.ready} of {preflight.expected} nodes ready"
    bar = (preflight.ready, preflight.expected) if preflight.result is PreflightResult.RUNNING else None
    yield Line("preflight", f"{preflight.version} {preflight.result}: {counted}", mood, bar)
    yield from (Line("finding", finding, mood) for finding in preflight.findings)


def _rollout(rollout: RolloutStatus, now: datetime | None) -> Line:
    said = [f"{rollout.updated} of {rollout.total} agents updated"]
    if rollout.current:
        said.append(f"now {list_names(rollout.current, _NAMED)}")
    if rollout.unhealthy_before:
        said.append(f"not Ready before it: {list_names(rollout.unhealthy_before, _NAMED)}")
    said.append(f"last progress {_told(rollout.last_progress_at, now)}")
    return Line("rollout", "; ".join(said), Mood.BUSY, (rollout.updated, rollout.total))


def _pool(status: Mapping[str, Any]) -> Line | None:
    """The blocks of the cluster pool."""
    ipam = status.get("ipam") or {}
    blocks = ipam.get("nodeBlocks")
    if not blocks:
        return None
    total, used, free = (int(blocks.get(key, 0)) for key in ("total", "used", "free"))
    said = [f"{used} of {total} node blocks used, {free} free"]
    if pods := ipam.get("podsPerNode"):
        said.append(f"{pods} pods on a node")
    if exhausted := ipam.get("exhausted"):
        said.append(f"exhausted: {list_names([str(one) for one in exhausted], _NAMED)}")
    mood = Mood.BAD if exhausted or free <= 0 else Mood.PLAIN
    return Line("pool", "; ".join(said), mood, (used, total))


def _nodes(view: View) -> Line:
    nodes = view.nodes
    said = [f"{nodes.ready} of {nodes.total} ready"]
    if nodes.total:
        said += [f"{nodes.agents_ready} agents ready", f"{nodes.up_to_date} up to date"]
    if nodes.disconnected:
        said.append(f"{nodes.disconnected} disconnected")
    return Line("nodes", ", ".join(said), Mood.GOOD if nodes.ready == nodes.total else Mood.BUSY)


def _row(node: NodeRow, now: datetime | None) -> Row:
    since = "" if node.since is None else _told(node.since, now)
    if node.reason is None:
        return Row(plain(node.name), WELL, since, ", ".join(map(plain, node.pod_cidrs)), Mood.GOOD)
    mood = Mood.BUSY if node.reason is UnreadyReason.NODE_DISCONNECTED else Mood.BAD
    return Row(plain(node.name), node.reason, since, plain(node.message), mood)


def _told(moment: datetime, now: datetime | None) -> str:
    """A time for files; for eyes, how long ago, in its largest unit."""
    if now is None:
        return instant(moment)
    seconds = max(0, int((now - moment) / timedelta(seconds=1)))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def _printable(line: Line) -> Line:
    return Line(line.label, plain(line.text), line.mood, line.bar)
