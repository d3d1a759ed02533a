from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import EARLIER, NODE, NOW, a_condition, a_status
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import (
    Nodes,
    Phase,
    PlanPhase,
    PlanStep,
    PreflightResult,
    PreflightStatus,
    Release,
    RolloutStatus,
    Status,
    UnreadyReason,
    Version,
)
from cilium_hybrid.cli.status_text import Line, Mood, awaits_approval, block, changes, lines, proposal, rows
from cilium_hybrid.cli.status_view import NodeRow, Ready, View
from cilium_hybrid.plan.inputs import Resource

WELL = Ready("True", "InSync", "Cilium 1.17.9-0 runs on 1 of 1 hybrid nodes", current=True)
AWAY = Ready("False", "RollingOut", "one by one", current=True)
DIGEST = f"sha256:{'ab' * 32}"


def a_view(
    status: Status | None = None, *, ready: Ready = WELL, raw: dict[str, Any] | None = None, **more: Any
) -> View:
    resource = Resource(generation=3, resource_version="7", spec={}, status=raw or {})
    facts: dict[str, Any] = {
        "nodes": Nodes(total=1, ready=1, agents_ready=1, up_to_date=1),
        "rows": (NodeRow(NODE),),
    } | more
    return View(resource, ready, status or a_status(), **facts)


def printed(view: View) -> list[str]:
    return [one.line for one in block(view)]


def told(view: View, label: str) -> list[Line]:
    return [line for line in lines(view) if line.label == label]


STALLED = a_condition(ConditionType.STALLED, "True", Reason.ROLLED_BACK)


@pytest.mark.parametrize(
    ("ready", "status", "text", "mood"),
    [
        pytest.param(WELL, a_status(), f"True InSync: {WELL.message}", Mood.GOOD, id="it is ready"),
        pytest.param(AWAY, a_status(), "False RollingOut: one by one", Mood.BUSY, id="it gets on"),
        pytest.param(AWAY, a_status(STALLED), "False RollingOut: one by one", Mood.BAD, id="it waits for a person"),
        pytest.param(AWAY, a_status(phase=Phase.DEGRADED), "False RollingOut: one by one", Mood.BAD, id="it fails"),
        pytest.param(
            Ready("True", "InSync", "fine"),
            a_status(),
            "Unknown: the operator has not looked at generation 3 yet; before: True InSync: fine",
            Mood.BUSY,
            id="of the generation before",
        ),
        pytest.param(
            Ready(),
            a_status(),
            "Unknown: the operator has written no status; does it run?",
            Mood.BUSY,
            id="nothing was written",
        ),
    ],
)
def test_ready_comes_first(ready: Ready, status: Status, text: str, mood: Mood) -> None:
    assert lines(a_view(status, ready=ready))[0] == Line("Ready", text, mood)


def rollout(**more: Any) -> RolloutStatus:
    return RolloutStatus(**({"updated": 2, "total": 5, "outdated": 2, "last_progress_at": EARLIER} | more))


def preflight(result: PreflightResult, *findings: str) -> PreflightStatus:
    return PreflightStatus(version="1.18.8-1", result=result, ready=1, expected=5, findings=findings)


RELEASE = Release(revision=4, status="deployed", chart="oci://r/c", chart_digest=DIGEST, values_digest=DIGEST)
PLAN = (
    PlanStep(version="1.17.15-1", phase=PlanPhase.DONE),
    PlanStep(version="1.18.8-1", phase=PlanPhase.ROLLOUT, notes=("a note",)),
    PlanStep(version="1.19.1-1", phase=PlanPhase.PENDING),
)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(a_status(phase=Phase.UPGRADING), [Line("phase", "Upgrading")], id="a phase"),
        pytest.param(
            a_status(a_condition(ConditionType.VALID, "True", Reason.ACCEPTED)),
            [Line("Valid", "True Accepted: as it was")],
            id="a spec that was taken",
        ),
        pytest.param(
            a_status(a_condition(ConditionType.VALID, "False", Reason.MASK_CHANGED, message="two things")),
            [Line("Valid", "False MaskChanged: two things", Mood.BAD)],
            id="a spec that was refused",
        ),
        pytest.param(
            a_status(version=Version(running="1.17.9-0", target="1.18.8-1", initial="1.17")),
            [Line("version", "1.17.9-0 runs, 1.18.8-1 is wanted, 1.17 was installed first")],
            id="another version is wanted",
        ),
        pytest.param(
            a_status(version=Version(running="1.17.9-0", target="1.17.9-0")),
            [Line("version", "1.17.9-0 runs")],
            id="the wanted version runs",
        ),
        pytest.param(
            a_status(release=RELEASE), [Line("release", "revision 4, deployed, oci://r/c")], id="something is released"
        ),
        pytest.param(
            a_status(plan=PLAN),
            [
                Line("plan", "1.17.15-1: Done", Mood.GOOD),
                Line("plan", "1.18.8-1: Rollout", Mood.BUSY),
                Line("note", "1.18.8-1: a note"),
                Line("plan", "1.19.1-1: Pending"),
            ],
            id="a plan",
        ),
        pytest.param(
            a_status(preflight=preflight(PreflightResult.RUNNING)),
            [Line("preflight", "1.18.8-1 Running: 1 of 5 nodes ready", Mood.BUSY, (1, 5))],
            id="a preflight that runs",
        ),
        pytest.param(
            a_status(preflight=preflight(PreflightResult.PASSED)),
            [Line("preflight", "1.18.8-1 Passed: 1 of 5 nodes ready", Mood.GOOD)],
            id="a preflight that passed",
        ),
        pytest.param(
            a_status(preflight=preflight(PreflightResult.FAILED, "no image", "no room")),
            [
                Line("preflight", "1.18.8-1 Failed: 1 of 5 nodes ready", Mood.BAD),
                Line("finding", "no image", Mood.BAD),
                Line("finding", "no room", Mood.BAD),
            ],
            id="a preflight that failed",
        ),
        pytest.param(
            a_status(rollout=rollout()),
            [Line("rollout", "2 of 5 agents updated; last progress 2026-03-01T11:00:00Z", Mood.BUSY, (2, 5))],
            id="a rollout between two nodes",
        ),
        pytest.param(
            a_status(rollout=rollout(current=("mi-3",), unhealthy_before=("mi-4", "mi-5"))),
            [
                Line(
                    "rollout",
                    "2 of 5 agents updated; now mi-3; not Ready before it: mi-4, mi-5; "
                    "last progress 2026-03-01T11:00:00Z",
                    Mood.BUSY,
                    (2, 5),
                )
            ],
            id="a rollout at a node",
        ),
        pytest.param(
            a_status(rollout=rollout(unhealthy_before=tuple(f"mi-{number}" for number in range(12)))),
            [
                Line(
                    "rollout",
                    "2 of 5 agents updated; not Ready before it: mi-0, mi-1, mi-2, mi-3, mi-4, mi-5, mi-6, mi-7, mi-8, "
                    "mi-9 and 2 more; last progress 2026-03-01T11:00:00Z",
                    Mood.BUSY,
                    (2, 5),
                )
            ],
            id="a rollout with many broken nodes",
        ),
    ],
)
def test_what_the_operator_wrote_is_told_in_lines(status: Status, expected: list[Line]) -> None:
    assert list(lines(a_view(status))[1:-1]) == expected


AWAITING = a_condition(ConditionType.READY, "False", Reason.AWAITING_APPROVAL)


def test_the_digest_is_told_while_a_person_has_to_approve_it() -> None:
    waits = a_status(AWAITING, plan=PLAN, plan_digest=DIGEST)
    goes_on = a_status(a_condition(ConditionType.READY, "False", Reason.UPGRADING), plan=PLAN, plan_digest=DIGEST)
    line = Line("approval", f"awaited, for plan {DIGEST}: cilium-hybrid approve", Mood.BUSY)

    assert [awaits_approval(one) for one in (waits, goes_on, a_status(AWAITING), a_status())] == [True, *[False] * 3]
    assert told(a_view(waits), "approval") == [line]
    assert told(a_view(goes_on), "approval") == []


def test_a_proposal_is_the_way_its_notes_and_its_digest() -> None:
    version = Version(running="1.17.9-0", target="1.18.8-1")

    assert list(map(str, proposal(a_status(AWAITING, version=version, plan=PLAN[1:2], plan_digest=DIGEST)))) == [
        "version: 1.17.9-0 runs, 1.18.8-1 is wanted",
        "plan: 1.18.8-1: Rollout",
        "note: 1.18.8-1: a note",
        f"digest: {DIGEST}",
    ]


@pytest.mark.parametrize(
    ("ipam", "expected"),
    [
        pytest.param({}, [], id="an operator that does not count them"),
        pytest.param(
            {"nodeBlocks": {"total": 512, "used": 5, "free": 507}, "podsPerNode": 124, "exhausted": []},
            [Line("pool", "5 of 512 node blocks used, 507 free; 124 pods on a node", Mood.PLAIN, (5, 512))],
            id="there is room",
        ),
        pytest.param(
            {"nodeBlocks": {"total": 2, "used": 2, "free": 0}},
            [Line("pool", "2 of 2 node blocks used, 0 free", Mood.BAD, (2, 2))],
            id="there is none",
        ),
        pytest.param(
            {"nodeBlocks": {"total": 9, "used": 2, "free": 7}, "exhausted": ["mi-1"]},
            [Line("pool", "2 of 9 node blocks used, 7 free; exhausted: mi-1", Mood.BAD, (2, 9))],
            id="somebody has none left",
        ),
    ],
)
def test_the_pool_is_told_where_the_operator_counts_it(ipam: dict[str, Any], expected: list[Line]) -> None:
    assert told(a_view(raw={"ipam": ipam} if ipam else {}), "pool") == expected


def test_what_is_out_of_order_and_blocks_nothing_is_told_where_the_operator_knows_it() -> None:
    view = a_view(raw={"findings": ["one thing", "another"]})

    assert told(view, "to do") == [Line("to do", "one thing", Mood.BUSY), Line("to do", "another", Mood.BUSY)]
    assert told(a_view(), "to do") == []


@pytest.mark.parametrize(
    ("nodes", "text", "mood"),
    [
        pytest.param(Nodes(), "0 of 0 ready", Mood.GOOD, id="none has joined"),
        pytest.param(
            Nodes(total=5, ready=5, agents_ready=5, up_to_date=5),
            "5 of 5 ready, 5 agents ready, 5 up to date",
            Mood.GOOD,
            id="all are well",
        ),
        pytest.param(
            Nodes(total=5, ready=3, agents_ready=4, up_to_date=3, disconnected=1),
            "3 of 5 ready, 4 agents ready, 3 up to date, 1 disconnected",
            Mood.BUSY,
            id="some are not",
        ),
    ],
)
def test_nodes_are_counted(nodes: Nodes, text: str, mood: Mood) -> None:
    assert told(a_view(nodes=nodes), "nodes") == [Line("nodes", text, mood)]


def test_what_is_told_of_less_or_of_before_says_so() -> None:
    view = a_view(forbidden="nodes is forbidden", lost="no answer from the API server")
    text = f"Unknown: no answer from the API server; seen last: True InSync: {WELL.message}"

    assert lines(view)[0] == Line("Ready", text, Mood.BAD)
    assert told(view, "partial") == [
        Line("partial", "only nodes that fail, at most ten: nodes is forbidden", Mood.BUSY)
    ]


def test_a_status_in_other_words_is_told_as_far_as_it_can_be() -> None:
    view = a_view(raw={"ipam": {"nodeBlocks": {"total": 2, "used": 1, "free": 1}}})

    assert [line.label for line in lines(replace(view, status=None))] == ["Ready", "status", "pool", "nodes"]


FAILING = NodeRow("mi-9", UnreadyReason.AGENT_NOT_READY, "pod x: CrashLoopBackOff", EARLIER, ("10.85.0.0/25",))
SILENT = NodeRow("mi-7", UnreadyReason.NODE_DISCONNECTED, "does not report")
FINE = NodeRow("mi-10", pod_cidrs=("10.85.1.0/25", "10.86.0.0/25"))


def test_the_block_has_a_line_for_every_node_in_columns() -> None:
    view = a_view(rows=(FAILING, SILENT, FINE))

    assert printed(view)[-5:] == [
        "",
        "NODE   STATE         SINCE                 DETAIL",
        "mi-9   Agent         2026-03-01T11:00:00Z  pod x: CrashLoopBackOff",
        "mi-7   Disconnected                        does not report",
        "mi-10  Ready                               10.85.1.0/25, 10.86.0.0/25",
    ]
    assert [row.mood for row in rows(view)] == [Mood.BAD, Mood.BUSY, Mood.GOOD]
    assert printed(a_view(rows=()))[-1].startswith("nodes: ")


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(), "0s ago"),
        (timedelta(seconds=-5), "0s ago"),
        (timedelta(seconds=59), "59s ago"),
        (timedelta(seconds=60), "1m ago"),
        (timedelta(minutes=119), "1h ago"),
        (timedelta(hours=50), "2d ago"),
    ],
)
def test_for_eyes_a_moment_is_told_by_its_age(passed: timedelta, text: str) -> None:
    view = a_view(
        a_status(rollout=rollout(last_progress_at=NOW - passed)),
        rows=(NodeRow(NODE, UnreadyReason.AGENT_TAINT_PRESENT, "", NOW),),
    )

    assert next(line.text for line in lines(view, NOW) if line.label == "rollout").endswith(f"last progress {text}")
    assert rows(view, NOW)[0].since == "0s ago"


def test_only_lines_that_are_new_are_told_again() -> None:
    before = block(a_view(a_status(rollout=rollout()), rows=(FAILING, FINE)))
    after = block(a_view(a_status(rollout=rollout(updated=3)), rows=(FAILING, FINE)))

    assert changes([], before) == [one.line for one in before]
    assert changes(before, after) == ["rollout: 3 of 5 agents updated; last progress 2026-03-01T11:00:00Z"]
    assert changes(after, after) == []


def test_since_when_a_node_fails_is_no_news_and_why_is() -> None:
    first = block(a_view(rows=(replace(FAILING, since=None), FINE)))
    dated = block(a_view(rows=(FAILING, FINE)))
    other = block(a_view(rows=(replace(FAILING, message="pod x: ImagePullBackOff"), FINE)))

    assert changes(first, dated) == []
    assert changes(dated, other) == ["mi-9   Agent         2026-03-01T11:00:00Z  pod x: ImagePullBackOff"]


HOSTILE = "\x1b[2J\r\n\u202e\u2028\x9b"


def test_nothing_that_others_wrote_speaks_to_the_terminal() -> None:
    status = a_status(
        a_condition(ConditionType.VALID, "False", Reason.INVALID_SPEC, message=HOSTILE),
        plan=(PlanStep(version=HOSTILE, phase=PlanPhase.DONE, notes=(HOSTILE,)),),
        preflight=preflight(PreflightResult.FAILED, HOSTILE),
        rollout=rollout(current=(HOSTILE,)),
        release=RELEASE.model_copy(update={"chart": HOSTILE}),
    )
    row = NodeRow(HOSTILE, UnreadyReason.AGENT_NOT_READY, HOSTILE, None, (HOSTILE,))
    view = a_view(
        status,
        ready=Ready("False", "RollingOut", HOSTILE, current=True),
        raw={"ipam": {"nodeBlocks": {"total": 1}, "exhausted": [HOSTILE]}},
        rows=(row, NodeRow(NODE, pod_cidrs=(HOSTILE,))),
        forbidden=HOSTILE,
        lost=HOSTILE,
    )
    written = [*printed(view), *map(str, proposal(status))]

    assert [line for line in written if not line.isprintable()] == []
    assert sum("[2J" in line for line in written) == 13
