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
from cilium_hybrid.cli.status_text import (
    FactLine,
    Level,
    awaits_approval,
    changed_lines,
    fact_lines,
    node_rows,
    plain_lines,
    plan_lines,
)
from cilium_hybrid.cli.status_view import NodeState, ReadyCondition, View
from cilium_hybrid.plan.inputs import Resource

IN_SYNC = ReadyCondition("True", "InSync", "Cilium 1.17.9-0 runs on 1 of 1 hybrid nodes", current=True)
ROLLING_OUT = ReadyCondition("False", "RollingOut", "updating", current=True)
DIGEST = f"sha256:{'ab' * 32}"


def a_view(
    status: Status | None = None, *, ready: ReadyCondition = IN_SYNC, raw: dict[str, Any] | None = None, **more: Any
) -> View:
    resource = Resource(generation=3, resource_version="7", spec={}, status=raw or {})
    facts: dict[str, Any] = {
        "nodes": Nodes(total=1, ready=1, agents_ready=1, up_to_date=1),
        "node_states": (NodeState(NODE),),
    } | more
    return View(resource, ready, status or a_status(), **facts)


def printed(view: View) -> list[str]:
    return [line.text for line in plain_lines(view)]


def labelled(view: View, label: str) -> list[FactLine]:
    return [line for line in fact_lines(view) if line.label == label]


STALLED = a_condition(ConditionType.STALLED, "True", Reason.ROLLED_BACK)


@pytest.mark.parametrize(
    ("ready", "status", "text", "level"),
    [
        pytest.param(IN_SYNC, a_status(), f"True InSync: {IN_SYNC.message}", Level.OK, id="ready"),
        pytest.param(ROLLING_OUT, a_status(), "False RollingOut: updating", Level.PENDING, id="in progress"),
        pytest.param(ROLLING_OUT, a_status(STALLED), "False RollingOut: updating", Level.ERROR, id="stalled"),
        pytest.param(
            ROLLING_OUT, a_status(phase=Phase.DEGRADED), "False RollingOut: updating", Level.ERROR, id="degraded"
        ),
        pytest.param(
            ReadyCondition("True", "InSync", "fine"),
            a_status(),
            "Unknown: the operator has not observed generation 3 yet; last known: True InSync: fine",
            Level.PENDING,
            id="of the previous generation",
        ),
        pytest.param(
            ReadyCondition(),
            a_status(),
            "Unknown: no status yet; check that the operator runs",
            Level.PENDING,
            id="no status",
        ),
    ],
)
def test_ready_is_the_first_line(ready: ReadyCondition, status: Status, text: str, level: Level) -> None:
    assert fact_lines(a_view(status, ready=ready))[0] == FactLine("Ready", text, level)


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
        pytest.param(a_status(phase=Phase.UPGRADING), [FactLine("phase", "Upgrading")], id="a phase"),
        pytest.param(
            a_status(a_condition(ConditionType.VALID, "True", Reason.ACCEPTED)),
            [FactLine("Valid", "True Accepted: unchanged")],
            id="a valid spec",
        ),
        pytest.param(
            a_status(a_condition(ConditionType.VALID, "False", Reason.MASK_CHANGED, message="two things")),
            [FactLine("Valid", "False MaskChanged: two things", Level.ERROR)],
            id="an invalid spec",
        ),
        pytest.param(
            a_status(version=Version(running="1.17.9-0", target="1.18.8-1", initial="1.17")),
            [FactLine("version", "1.17.9-0 running, 1.18.8-1 target, first installed 1.17")],
            id="upgrading",
        ),
        pytest.param(
            a_status(version=Version(running="1.17.9-0", target="1.17.9-0")),
            [FactLine("version", "1.17.9-0 running")],
            id="the target version runs",
        ),
        pytest.param(
            a_status(release=RELEASE), [FactLine("release", "revision 4, deployed, oci://r/c")], id="a release"
        ),
        pytest.param(
            a_status(plan=PLAN),
            [
                FactLine("plan", "1.17.15-1: Done", Level.OK),
                FactLine("plan", "1.18.8-1: Rollout", Level.PENDING),
                FactLine("note", "1.18.8-1: a note"),
                FactLine("plan", "1.19.1-1: Pending"),
            ],
            id="a plan",
        ),
        pytest.param(
            a_status(preflight=preflight(PreflightResult.RUNNING)),
            [FactLine("preflight", "1.18.8-1 Running: 1 of 5 nodes ready", Level.PENDING, (1, 5))],
            id="a running preflight",
        ),
        pytest.param(
            a_status(preflight=preflight(PreflightResult.PASSED)),
            [FactLine("preflight", "1.18.8-1 Passed: 1 of 5 nodes ready", Level.OK)],
            id="a passed preflight",
        ),
        pytest.param(
            a_status(preflight=preflight(PreflightResult.FAILED, "no image", "no space")),
            [
                FactLine("preflight", "1.18.8-1 Failed: 1 of 5 nodes ready", Level.ERROR),
                FactLine("preflight", "no image", Level.ERROR),
                FactLine("preflight", "no space", Level.ERROR),
            ],
            id="a failed preflight",
        ),
        pytest.param(
            a_status(rollout=rollout()),
            [FactLine("rollout", "2 of 5 nodes updated; last progress 2026-03-01T11:00:00Z", Level.PENDING, (2, 5))],
            id="a rollout between two nodes",
        ),
        pytest.param(
            a_status(rollout=rollout(current=("mi-3",), unhealthy_before=("mi-4", "mi-5"))),
            [
                FactLine(
                    "rollout",
                    "2 of 5 nodes updated; updating mi-3; unhealthy before the rollout: mi-4, mi-5; "
                    "last progress 2026-03-01T11:00:00Z",
                    Level.PENDING,
                    (2, 5),
                )
            ],
            id="a rollout that updates a node",
        ),
        pytest.param(
            a_status(rollout=rollout(unhealthy_before=tuple(f"mi-{number}" for number in range(12)))),
            [
                FactLine(
                    "rollout",
                    "2 of 5 nodes updated; unhealthy before the rollout: mi-0, mi-1, mi-2, mi-3, mi-4, mi-5, mi-6, "
                    "mi-7, mi-8 and 3 more; last progress 2026-03-01T11:00:00Z",
                    Level.PENDING,
                    (2, 5),
                )
            ],
            id="a rollout with many unhealthy nodes",
        ),
    ],
)
def test_each_part_of_the_status_is_a_line(status: Status, expected: list[FactLine]) -> None:
    assert list(fact_lines(a_view(status))[1:-1]) == expected


AWAITING = a_condition(ConditionType.READY, "False", Reason.AWAITING_APPROVAL)


def test_the_digest_is_shown_while_the_plan_awaits_approval() -> None:
    pending = a_status(AWAITING, plan=PLAN, plan_digest=DIGEST)
    running = a_status(a_condition(ConditionType.READY, "False", Reason.UPGRADING), plan=PLAN, plan_digest=DIGEST)
    line = FactLine("approval", f"required for plan {DIGEST}; run cilium-hybrid approve", Level.PENDING)

    assert [awaits_approval(status) for status in (pending, running, a_status(AWAITING), a_status())] == [
        True,
        *[False] * 3,
    ]
    assert labelled(a_view(pending), "approval") == [line]
    assert labelled(a_view(running), "approval") == []


def test_a_plan_is_described_by_its_versions_steps_notes_and_digest() -> None:
    version = Version(running="1.17.9-0", target="1.18.8-1")

    assert list(map(str, plan_lines(a_status(AWAITING, version=version, plan=PLAN[1:2], plan_digest=DIGEST)))) == [
        "version: 1.17.9-0 running, 1.18.8-1 target",
        "plan: 1.18.8-1: Rollout",
        "note: 1.18.8-1: a note",
        f"digest: {DIGEST}",
    ]


@pytest.mark.parametrize(
    ("ipam", "expected"),
    [
        pytest.param({}, [], id="an operator that does not report blocks"),
        pytest.param(
            {"nodeBlocks": {"total": 512, "used": 5, "free": 507}, "podsPerNode": 124, "exhausted": []},
            [FactLine("pool", "5 of 512 node blocks used, 507 free; 124 pods per node", Level.INFO, (5, 512))],
            id="free blocks",
        ),
        pytest.param(
            {"nodeBlocks": {"total": 2, "used": 2, "free": 0}},
            [FactLine("pool", "2 of 2 node blocks used, 0 free", Level.ERROR, (2, 2))],
            id="no free block",
        ),
        pytest.param(
            {"nodeBlocks": {"total": 9, "used": 2, "free": 7}, "exhausted": ["mi-1"]},
            [FactLine("pool", "2 of 9 node blocks used, 7 free; exhausted: mi-1", Level.ERROR, (2, 9))],
            id="an exhausted node",
        ),
    ],
)
def test_the_pool_is_shown_if_the_operator_reports_it(ipam: dict[str, Any], expected: list[FactLine]) -> None:
    assert labelled(a_view(raw={"ipam": ipam} if ipam else {}), "pool") == expected


def test_findings_are_shown() -> None:
    view = a_view(raw={"findings": ["one thing", "another"]})

    assert labelled(view, "finding") == [
        FactLine("finding", "one thing", Level.PENDING),
        FactLine("finding", "another", Level.PENDING),
    ]
    assert labelled(a_view(), "finding") == []


@pytest.mark.parametrize(
    ("nodes", "text", "level"),
    [
        pytest.param(Nodes(), "0 of 0 ready", Level.OK, id="no nodes"),
        pytest.param(
            Nodes(total=5, ready=5, agents_ready=5, up_to_date=5),
            "5 of 5 ready, 5 agents ready, 5 up to date",
            Level.OK,
            id="all ready",
        ),
        pytest.param(
            Nodes(total=5, ready=3, agents_ready=4, up_to_date=3, disconnected=1),
            "3 of 5 ready, 4 agents ready, 3 up to date, 1 disconnected",
            Level.PENDING,
            id="some unready",
        ),
    ],
)
def test_nodes_are_counted(nodes: Nodes, text: str, level: Level) -> None:
    assert labelled(a_view(nodes=nodes), "nodes") == [FactLine("nodes", text, level)]


def test_an_incomplete_or_outdated_view_says_so() -> None:
    view = a_view(forbidden="nodes is forbidden", lost="no answer from the API server")
    text = f"Unknown: no answer from the API server; last known: True InSync: {IN_SYNC.message}"

    assert fact_lines(view)[0] == FactLine("Ready", text, Level.ERROR)
    assert labelled(view, "partial") == [
        FactLine("partial", "only unready nodes, at most 10: nodes is forbidden", Level.PENDING)
    ]


def test_a_status_of_a_different_version_is_shown_as_far_as_possible() -> None:
    view = a_view(raw={"ipam": {"nodeBlocks": {"total": 2, "used": 1, "free": 1}}})

    assert [line.label for line in fact_lines(replace(view, status=None))] == ["Ready", "status", "pool", "nodes"]


CRASHING = NodeState("mi-9", UnreadyReason.AGENT_NOT_READY, "pod x: CrashLoopBackOff", EARLIER, ("10.85.0.0/25",))
DISCONNECTED = NodeState("mi-7", UnreadyReason.NODE_DISCONNECTED, "not reporting")
OUTDATED = NodeState("mi-8", message="agent runs an outdated configuration", pod_cidrs=("10.85.2.0/25",))
HEALTHY = NodeState("mi-10", pod_cidrs=("10.85.1.0/25", "10.86.0.0/25"))


def test_every_node_is_a_line_with_columns() -> None:
    view = a_view(node_states=(CRASHING, DISCONNECTED, OUTDATED, HEALTHY))

    assert printed(view)[-6:] == [
        "",
        "NODE   STATE              SINCE                 DETAIL",
        "mi-9   AgentNotReady      2026-03-01T11:00:00Z  pod x: CrashLoopBackOff",
        "mi-7   NodeDisconnected                         not reporting",
        "mi-8   Ready                                    agent runs an outdated configuration",
        "mi-10  Ready                                    10.85.1.0/25, 10.86.0.0/25",
    ]
    assert [row.level for row in node_rows(view)] == [Level.ERROR, Level.PENDING, Level.PENDING, Level.OK]
    assert printed(a_view(node_states=()))[-1].startswith("nodes: ")


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
def test_on_a_terminal_a_time_is_shown_as_its_age(passed: timedelta, text: str) -> None:
    view = a_view(
        a_status(rollout=rollout(last_progress_at=NOW - passed)),
        node_states=(NodeState(NODE, UnreadyReason.AGENT_TAINT_PRESENT, "", NOW),),
    )

    assert next(line.text for line in fact_lines(view, NOW) if line.label == "rollout").endswith(
        f"last progress {text}"
    )
    assert node_rows(view, NOW)[0].since == "0s ago"


def test_only_new_lines_are_printed_again() -> None:
    before = plain_lines(a_view(a_status(rollout=rollout()), node_states=(CRASHING, HEALTHY)))
    after = plain_lines(a_view(a_status(rollout=rollout(updated=3)), node_states=(CRASHING, HEALTHY)))

    assert changed_lines([], before) == [line.text for line in before]
    assert changed_lines(before, after) == ["rollout: 3 of 5 nodes updated; last progress 2026-03-01T11:00:00Z"]
    assert changed_lines(after, after) == []


def test_a_changed_time_is_not_a_change_and_a_changed_cause_is() -> None:
    first = plain_lines(a_view(node_states=(replace(CRASHING, since=None), HEALTHY)))
    dated = plain_lines(a_view(node_states=(CRASHING, HEALTHY)))
    other = plain_lines(a_view(node_states=(replace(CRASHING, message="pod x: ImagePullBackOff"), HEALTHY)))

    assert changed_lines(first, dated) == []
    assert changed_lines(dated, other) == ["mi-9   AgentNotReady      2026-03-01T11:00:00Z  pod x: ImagePullBackOff"]


HOSTILE = "\x1b[2J\r\n\u202e\u2028\x9b"


def test_messages_cannot_control_the_terminal() -> None:
    status = a_status(
        a_condition(ConditionType.VALID, "False", Reason.INVALID_SPEC, message=HOSTILE),
        plan=(PlanStep(version=HOSTILE, phase=PlanPhase.DONE, notes=(HOSTILE,)),),
        preflight=preflight(PreflightResult.FAILED, HOSTILE),
        rollout=rollout(current=(HOSTILE,)),
        release=RELEASE.model_copy(update={"chart": HOSTILE}),
    )
    row = NodeState(HOSTILE, UnreadyReason.AGENT_NOT_READY, HOSTILE, None, (HOSTILE,))
    view = a_view(
        status,
        ready=ReadyCondition("False", "RollingOut", HOSTILE, current=True),
        raw={"ipam": {"nodeBlocks": {"total": 1}, "exhausted": [HOSTILE]}},
        node_states=(row, NodeState(NODE, pod_cidrs=(HOSTILE,))),
        forbidden=HOSTILE,
        lost=HOSTILE,
    )
    written = [*printed(view), *map(str, plan_lines(status))]

    assert [line for line in written if not line.isprintable()] == []
    assert sum("[2J" in line for line in written) == 13
