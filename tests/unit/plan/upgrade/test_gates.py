from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import (
    DIGEST,
    NOW,
    VERSION,
    a_healthy_observation,
    a_preflight,
    a_preflight_pod,
    a_revision,
    a_spec,
    a_step_of,
    a_told,
    a_validator,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightResult, PreflightStatus, Status
from cilium_hybrid.api.v1alpha1 import APPROVE
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Action, Decision, EndPreflight, Nothing, StartPreflight
from cilium_hybrid.plan.observation import PreflightObservation
from cilium_hybrid.plan.upgrade.gates import Checks, awaited_approval, awaited_preflight, told_preflight
from cilium_hybrid.plan.upgrade.path import UpgradePath, find_upgrade_path
from cilium_hybrid.plan.upgrade.preflight import evaluate_preflight, preflight_values

NEXT = "1.17.15-1"
TARGET = "1.18.8-1"
UP = a_spec(version=TARGET)
MANUAL = a_spec(version=TARGET, upgrade={"approval": "Manual"})
RUNNING, PASSED, FAILED = PreflightResult.RUNNING, PreflightResult.PASSED, PreflightResult.FAILED
NOTHING = PreflightObservation()
TIMEOUT = timedelta(minutes=10)


def a_route(spec: Any = UP, run: str = VERSION) -> UpgradePath:
    observation = a_healthy_observation(a_step_of(spec, run))
    return find_upgrade_path(
        spec, observation, Status(), 1, [CiliumVersion.parse(version) for version in (NEXT, TARGET)]
    )


@pytest.mark.parametrize(
    ("spec", "approved", "words"),
    [
        pytest.param(UP, None, None, id="automatic"),
        pytest.param(UP, "sha256:x", None, id="automatic, whatever is annotated"),
        pytest.param(MANUAL, None, "waiting for approval of 1.17.9-0 → 1.17.15-1 → 1.18.8-1: run", id="none"),
        pytest.param(MANUAL, "", "waiting for approval of", id="an empty one"),
        pytest.param(MANUAL, "sha256:x", f"{APPROVE}=sha256:x is of another plan; waiting for", id="of another plan"),
        pytest.param(MANUAL, a_route(MANUAL).digest, None, id="of this plan"),
        pytest.param(MANUAL, a_route(UP).digest, None, id="how it is approved is no part of the plan"),
        pytest.param(
            MANUAL, a_route(a_spec(version=TARGET, masquerade=False)).digest, "is of another plan", id="another spec"
        ),
    ],
)
def test_an_approval_is_of_exactly_one_plan(spec: Any, approved: str | None, words: str | None) -> None:
    awaited = awaited_approval(spec, a_route(spec), approved)

    assert (awaited is None) == (words is None)
    if awaited is not None and words is not None:
        assert (awaited.action, awaited.reason, awaited.stalled) == (Nothing(), Reason.AWAITING_APPROVAL, False)
        assert awaited.message.startswith(words) or words in awaited.message
        assert awaited.message.endswith(f"annotate ciliumhybrid/default with {APPROVE}={a_route(spec).digest}")


def test_a_change_of_configuration_is_approved_too() -> None:
    spec = a_spec(masquerade=False, upgrade={"approval": "Manual"})
    awaited = awaited_approval(spec, a_route(spec), None)

    assert awaited is not None
    assert awaited.message.startswith("waiting for approval of a change of configuration: run")


READY = (a_preflight_pod(),)
WORKS = a_preflight(*READY, release=a_revision(made_at=NOW, version=NEXT, values_digest=a_route().next.values_digest))
CRASHES = a_preflight(a_preflight_pod(ready=False, failure_message="ErrImagePull"), release=WORKS.release)


def awaited_of(
    told: PreflightStatus | None, seen: PreflightObservation, spec: Any = UP, *, late: bool = False
) -> tuple[Action, Reason, bool, PreflightStatus | None] | None:
    now = NOW + (timedelta(hours=1) if late else timedelta())
    observation = replace(a_healthy_observation(a_step_of(UP, VERSION)), preflight=seen)
    verdict = evaluate_preflight(observation, None, TIMEOUT, now)
    decision = awaited_preflight(spec, a_route().next, Checks(told, seen, verdict))
    return None if decision is None else (decision.action, decision.reason, decision.stalled, decision.preflight)


START = StartPreflight(a_route().next, preflight_values(UP))
STARTED = (START, Reason.PREFLIGHT_RUNNING, False, a_told(NEXT, RUNNING, expected=1))
ENDS = (EndPreflight(), Reason.PREFLIGHT_RUNNING, False)
FAILS = (EndPreflight(), Reason.PREFLIGHT_FAILED, True)
ITS_FINDING = ("node mi-0000000000000001: pod cilium-pre-flight-check-mi-0000000000000001: ErrImagePull",)


def is_left(**release: Any) -> PreflightObservation:
    assert WORKS.release is not None
    return replace(WORKS, release=replace(WORKS.release, **release))


@pytest.mark.parametrize(
    ("told", "seen", "expected"),
    [
        pytest.param(None, NOTHING, STARTED, id="nothing told, nothing there"),
        pytest.param(None, WORKS, STARTED, id="nothing told, one of an earlier generation there"),
        pytest.param(a_told("1.17.9-0"), NOTHING, STARTED, id="of the step before"),
        pytest.param(a_told("1.17.9-0", FAILED), WORKS, STARTED, id="of another version, which failed"),
        pytest.param(a_told(NEXT, RUNNING), NOTHING, STARTED, id="whoever was to start it was interrupted"),
        pytest.param(
            a_told(NEXT, RUNNING), is_left(status="pending-install"), STARTED, id="interrupted in the middle of it"
        ),
        pytest.param(a_told(NEXT, RUNNING), is_left(status="failed"), STARTED, id="Helm failed to install it"),
        pytest.param(
            a_told(NEXT, RUNNING),
            CRASHES,
            (Nothing(), Reason.PREFLIGHT_RUNNING, False, a_told(NEXT, RUNNING, expected=1, findings=ITS_FINDING)),
            id="it runs",
        ),
        pytest.param(
            a_told(NEXT, RUNNING),
            WORKS,
            (*ENDS, a_told(NEXT, PASSED, ready=1, expected=1)),
            id="it passed, which is told as it is taken away",
        ),
        pytest.param(a_told(NEXT), WORKS, (*ENDS, a_told(NEXT)), id="it passed, and is still there"),
        pytest.param(
            a_told(NEXT),
            PreflightObservation(validator=a_validator()),
            (*ENDS, a_told(NEXT)),
            id="it passed, and something is left",
        ),
        pytest.param(a_told(NEXT), NOTHING, None, id="it passed, and is gone"),
        pytest.param(a_told(NEXT, FAILED), WORKS, (*FAILS, a_told(NEXT, FAILED)), id="it failed, and is still there"),
        pytest.param(
            a_told(NEXT, FAILED),
            NOTHING,
            (Nothing(), Reason.PREFLIGHT_FAILED, True, a_told(NEXT, FAILED)),
            id="it failed, and is gone",
        ),
    ],
)
def test_what_comes_before_a_version(told: PreflightStatus | None, seen: PreflightObservation, expected: Any) -> None:
    assert awaited_of(told, seen) == expected


@pytest.mark.parametrize(
    "release",
    [{"chart_version": "1.17.14-0"}, {"values_digest": DIGEST}, {"ref_digest": DIGEST}],
    ids=["another version", "other values", "another place of the chart"],
)
def test_what_an_earlier_generation_left_is_nothing_to_judge_by(release: dict[str, Any]) -> None:
    """The start that was told of may not have come to it, as where the registry is away."""
    assert awaited_of(a_told(NEXT, RUNNING), is_left(**release)) == STARTED


def test_what_was_not_ready_in_time_is_told_as_it_is_taken_away() -> None:
    found = awaited_of(a_told(NEXT, RUNNING), CRASHES, late=True)

    assert found == (*FAILS, a_told(NEXT, FAILED, expected=1, findings=ITS_FINDING))


@pytest.mark.parametrize("told", [None, a_told(NEXT, RUNNING), a_told(NEXT), a_told(NEXT, FAILED)])
def test_where_it_is_off_nothing_is_waited_for(told: PreflightStatus | None) -> None:
    off = a_spec(version=TARGET, upgrade={"preflight": {"enabled": False}})

    assert awaited_of(told, WORKS, off) is None


def test_without_a_verdict_it_is_started() -> None:
    decision = awaited_preflight(UP, a_route().next, Checks(a_told(NEXT, RUNNING), WORKS))

    assert decision is not None
    assert (decision.action, decision.preflight) == (START, a_told(NEXT, RUNNING))


@pytest.mark.parametrize(
    ("told", "seen", "message"),
    [
        pytest.param(
            None, NOTHING, "starting the preflight of Cilium 1.17.15-1; nothing is changed before it passed", id="start"
        ),
        pytest.param(
            a_told(NEXT, RUNNING),
            CRASHES,
            f"preflight of Cilium 1.17.15-1: 0 of 1 nodes passed; {ITS_FINDING[0]}",
            id="a finding",
        ),
        pytest.param(
            a_told(NEXT, RUNNING),
            a_preflight(a_preflight_pod(ready=False), release=WORKS.release),
            "preflight of Cilium 1.17.15-1: 0 of 1 nodes passed",
            id="no finding yet",
        ),
        pytest.param(
            a_told(NEXT, ready=2, expected=2),
            WORKS,
            "the preflight of Cilium 1.17.15-1 passed on 2 of 2 nodes",
            id="it passed",
        ),
        pytest.param(
            a_told(NEXT, FAILED, findings=("node a: it is not well", "node b: neither", "node c: neither")),
            NOTHING,
            "the preflight of Cilium 1.17.15-1 failed: node a: it is not well and 2 more; nothing was upgraded, and it "
            "is not tried again: mend the cause and change the spec, or set spec.upgrade.preflight.enabled to false",
            id="it failed",
        ),
        pytest.param(
            a_told(NEXT, FAILED),
            NOTHING,
            "the preflight of Cilium 1.17.15-1 failed: it was not ready in time; nothing was upgraded, and it is not "
            "tried again: mend the cause and change the spec, or set spec.upgrade.preflight.enabled to false",
            id="it failed, and nobody knows why",
        ),
    ],
)
def test_the_message_tells_how_far_it_is(
    told: PreflightStatus | None, seen: PreflightObservation, message: str
) -> None:
    observation = replace(a_healthy_observation(a_step_of(UP, VERSION)), preflight=seen)
    verdict = evaluate_preflight(observation, None, TIMEOUT, NOW)
    decision = awaited_preflight(UP, a_route().next, Checks(told, seen, verdict))

    assert decision is not None
    assert decision.message == message


STALLED = Decision(Nothing(), Reason.RENDER_REFUSED, "no", stalled=True)
WAITS = Decision(Nothing(), Reason.CHART_UNAVAILABLE, "later")


@pytest.mark.parametrize(
    ("decision", "told", "seen", "expected"),
    [
        pytest.param(STALLED, None, NOTHING, None, id="none was told"),
        pytest.param(STALLED, a_told(NEXT, RUNNING), WORKS, None, id="what stands still runs none"),
        pytest.param(STALLED, a_told(NEXT), NOTHING, a_told(NEXT), id="it passed before that"),
        pytest.param(STALLED, a_told(NEXT, FAILED), NOTHING, a_told(NEXT, FAILED), id="it failed before that"),
        pytest.param(WAITS, a_told(NEXT, RUNNING), WORKS, a_told(NEXT, RUNNING), id="it is there"),
        pytest.param(WAITS, a_told(NEXT, RUNNING), NOTHING, None, id="it was taken away"),
        pytest.param(
            replace(WAITS, preflight=a_told(NEXT, RUNNING)),
            a_told(NEXT, RUNNING),
            NOTHING,
            a_told(NEXT, RUNNING),
            id="its start waits for the next try",
        ),
        pytest.param(
            replace(STALLED, preflight=a_told(NEXT, FAILED)),
            a_told(NEXT, RUNNING),
            WORKS,
            a_told(NEXT, FAILED),
            id="it fails now",
        ),
    ],
)
def test_no_preflight_is_told_to_run_where_none_can(
    decision: Decision, told: PreflightStatus | None, seen: PreflightObservation, expected: PreflightStatus | None
) -> None:
    assert told_preflight(decision, Checks(told, seen)) == expected
