from dataclasses import replace
from typing import Any

import pytest

from builders import (
    DIGEST,
    NOW,
    VERSION,
    a_healthy_observation,
    a_preflight,
    a_preflight_pod,
    a_preflight_status,
    a_revision,
    a_spec,
    a_step_of,
    a_validator,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightResult, PreflightStatus, Status
from cilium_hybrid.api.v1alpha1 import APPROVE, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Action, Decision, EndPreflight, Nothing, StartPreflight
from cilium_hybrid.plan.observation import PreflightObservation
from cilium_hybrid.plan.upgrade.gates import (
    PreflightCheck,
    preflight_digest,
    preflight_status,
    require_approval,
    require_preflight,
)
from cilium_hybrid.plan.upgrade.path import UpgradePath, find_upgrade_path
from cilium_hybrid.plan.upgrade.preflight import evaluate_preflight, preflight_values

NEXT = "1.17.15-1"
TARGET = "1.18.8-1"
UP = a_spec(version=TARGET)
MANUAL = a_spec(version=TARGET, upgrade={"approval": "Manual"})
RUNNING, PASSED, FAILED = PreflightResult.RUNNING, PreflightResult.PASSED, PreflightResult.FAILED
NONE = PreflightObservation()
TIMEOUT = 600.0


def a_status(version: str, result: PreflightResult = PASSED, *, spec: Spec = UP, **more: Any) -> PreflightStatus:
    """The status of the check of the next release."""
    desired = an_upgrade_path(spec).next
    return a_preflight_status(version, result, **({"digest": preflight_digest(spec, desired, "")} | more))


def an_upgrade_path(spec: Any = UP, run: str = VERSION) -> UpgradePath:
    observation = a_healthy_observation(a_step_of(spec, run))
    return find_upgrade_path(spec, observation, Status(), [CiliumVersion.parse(version) for version in (NEXT, TARGET)])


@pytest.mark.parametrize(
    ("spec", "approved", "message"),
    [
        pytest.param(UP, None, None, id="automatic"),
        pytest.param(UP, "sha256:x", None, id="automatic with an annotation"),
        pytest.param(
            MANUAL, None, "waiting for approval of the upgrade 1.17.9-0 → 1.17.15-1 → 1.18.8-1; run", id="none"
        ),
        pytest.param(MANUAL, "", "waiting for approval of", id="empty"),
        pytest.param(
            MANUAL,
            "sha256:x",
            f"annotation {APPROVE}=sha256:x approves another plan; waiting for",
            id="of another plan",
        ),
        pytest.param(MANUAL, an_upgrade_path(MANUAL).digest, None, id="of this plan"),
        pytest.param(MANUAL, an_upgrade_path(UP).digest, None, id="the approval setting is not part of the plan"),
        pytest.param(
            MANUAL,
            an_upgrade_path(a_spec(version=TARGET, masquerade=False)).digest,
            "approves another plan",
            id="of another spec",
        ),
    ],
)
def test_an_approval_is_valid_for_exactly_one_plan(spec: Any, approved: str | None, message: str | None) -> None:
    decision = require_approval(spec, an_upgrade_path(spec), approved)

    assert (decision is None) == (message is None)
    if decision is not None and message is not None:
        assert (decision.action, decision.reason, decision.stalled) == (Nothing(), Reason.AWAITING_APPROVAL, False)
        assert decision.message.startswith(message) or message in decision.message
        assert decision.message.endswith(f"annotate ciliumhybrid/default with {APPROVE}={an_upgrade_path(spec).digest}")


def test_a_configuration_change_needs_approval_too() -> None:
    spec = a_spec(masquerade=False, upgrade={"approval": "Manual"})
    decision = require_approval(spec, an_upgrade_path(spec), None)

    assert decision is not None
    assert decision.message.startswith("waiting for approval of a configuration change; run")


READY = (a_preflight_pod(),)
READY_CHECK = a_preflight(
    *READY, release=a_revision(created_at=NOW, version=NEXT, values_digest=an_upgrade_path().next.values_digest)
)
FAILING_CHECK = a_preflight(a_preflight_pod(ready=False, failure_message="ErrImagePull"), release=READY_CHECK.release)


def outcome(
    reported: PreflightStatus | None, observed: PreflightObservation, spec: Any = UP, *, late: bool = False
) -> tuple[Action, Reason, bool, PreflightStatus | None] | None:
    observation = replace(a_healthy_observation(a_step_of(UP, VERSION)), preflight=observed)
    result = evaluate_preflight(observation, None, TIMEOUT, 0.0)
    if late:
        result = evaluate_preflight(observation, result.progress, TIMEOUT, 3600.0)
    decision = require_preflight(spec, an_upgrade_path().next, PreflightCheck(reported, observed, result))
    return None if decision is None else (decision.action, decision.reason, decision.stalled, decision.preflight)


START = StartPreflight(an_upgrade_path().next, preflight_values(UP))
STARTS = (START, Reason.PREFLIGHT_RUNNING, False, a_status(NEXT, RUNNING, expected=1))
ENDS = (EndPreflight(), Reason.PREFLIGHT_RUNNING, False)
FAILS = (EndPreflight(), Reason.PREFLIGHT_FAILED, True)
FINDING = ("node mi-0000000000000001: pod cilium-pre-flight-check-mi-0000000000000001: ErrImagePull",)


def leftover(**release: Any) -> PreflightObservation:
    assert READY_CHECK.release is not None
    return replace(READY_CHECK, release=replace(READY_CHECK.release, **release))


@pytest.mark.parametrize(
    ("reported", "observed", "expected"),
    [
        pytest.param(None, NONE, STARTS, id="none reported, none running"),
        pytest.param(None, READY_CHECK, STARTS, id="none reported, one of an earlier generation running"),
        pytest.param(a_status("1.17.9-0"), NONE, STARTS, id="of the previous step"),
        pytest.param(a_status("1.17.9-0", FAILED), READY_CHECK, STARTS, id="failed for another version"),
        pytest.param(a_status(NEXT, RUNNING), NONE, STARTS, id="the start was interrupted"),
        pytest.param(a_status(NEXT, RUNNING), leftover(status="pending-install"), STARTS, id="Helm was interrupted"),
        pytest.param(a_status(NEXT, RUNNING), leftover(status="failed"), STARTS, id="Helm failed to install it"),
        pytest.param(
            a_status(NEXT, RUNNING),
            FAILING_CHECK,
            (
                Nothing(),
                Reason.PREFLIGHT_RUNNING,
                False,
                a_status(NEXT, RUNNING, expected=1, findings=FINDING),
            ),
            id="running",
        ),
        pytest.param(
            a_status(NEXT, RUNNING),
            READY_CHECK,
            (*ENDS, a_status(NEXT, PASSED, ready=1, expected=1)),
            id="passed, reported while it is removed",
        ),
        pytest.param(a_status(NEXT), READY_CHECK, (*ENDS, a_status(NEXT)), id="passed, still running"),
        pytest.param(
            a_status(NEXT),
            PreflightObservation(validator=a_validator()),
            (*ENDS, a_status(NEXT)),
            id="passed, partly removed",
        ),
        pytest.param(a_status(NEXT), NONE, None, id="passed, removed"),
        pytest.param(
            a_status(NEXT, FAILED),
            READY_CHECK,
            (*FAILS, a_status(NEXT, FAILED)),
            id="failed, still running",
        ),
        pytest.param(
            a_status(NEXT, FAILED),
            NONE,
            (Nothing(), Reason.PREFLIGHT_FAILED, True, a_status(NEXT, FAILED)),
            id="failed, removed",
        ),
    ],
)
def test_the_preflight_check_of_a_version(
    reported: PreflightStatus | None, observed: PreflightObservation, expected: Any
) -> None:
    assert outcome(reported, observed) == expected


@pytest.mark.parametrize(
    "release",
    [{"chart_version": "1.17.14-0"}, {"values_digest": DIGEST}, {"ref_digest": DIGEST}],
    ids=["another version", "other values", "another chart reference"],
)
def test_a_leftover_check_of_an_earlier_generation_is_replaced(release: dict[str, Any]) -> None:
    """The reported start may have failed, for example because the registry was unavailable."""
    assert outcome(a_status(NEXT, RUNNING), leftover(**release)) == STARTS


def test_a_timeout_is_reported_while_the_check_is_removed() -> None:
    found = outcome(a_status(NEXT, RUNNING), FAILING_CHECK, late=True)

    assert found == (*FAILS, a_status(NEXT, FAILED, expected=1, findings=FINDING))


@pytest.mark.parametrize("reported", [None, a_status(NEXT, RUNNING), a_status(NEXT), a_status(NEXT, FAILED)])
def test_a_disabled_check_does_not_block(reported: PreflightStatus | None) -> None:
    disabled = a_spec(version=TARGET, upgrade={"preflight": {"enabled": False}})

    assert outcome(reported, READY_CHECK, disabled) is None


def test_a_check_without_an_evaluation_is_started() -> None:
    decision = require_preflight(UP, an_upgrade_path().next, PreflightCheck(a_status(NEXT, RUNNING), READY_CHECK))

    assert decision is not None
    assert (decision.action, decision.preflight) == (START, a_status(NEXT, RUNNING))


@pytest.mark.parametrize(
    ("reported", "observed", "message"),
    [
        pytest.param(
            None,
            NONE,
            "starting the preflight check of Cilium 1.17.15-1; nothing is upgraded before it passes",
            id="start",
        ),
        pytest.param(
            a_status(NEXT, RUNNING),
            FAILING_CHECK,
            f"preflight check of Cilium 1.17.15-1: 0 of 1 nodes passed; {FINDING[0]}",
            id="a finding",
        ),
        pytest.param(
            a_status(NEXT, RUNNING),
            a_preflight(a_preflight_pod(ready=False), release=READY_CHECK.release),
            "preflight check of Cilium 1.17.15-1: 0 of 1 nodes passed",
            id="no finding yet",
        ),
        pytest.param(
            a_status(NEXT, ready=2, expected=2),
            READY_CHECK,
            "the preflight check of Cilium 1.17.15-1 passed on 2 of 2 nodes",
            id="passed",
        ),
        pytest.param(
            a_status(NEXT, FAILED, findings=("node a: not ready", "node b: not ready", "node c: not ready")),
            NONE,
            "the preflight check of Cilium 1.17.15-1 failed: node a: not ready and 2 more; nothing was upgraded and "
            "the check is not retried; fix the cause, then set annotation ciliumhybrid.io/reconcile to a new value",
            id="failed",
        ),
        pytest.param(
            a_status(NEXT, FAILED),
            NONE,
            "the preflight check of Cilium 1.17.15-1 failed: timed out; nothing was upgraded and the check is not "
            "retried; fix the cause, then set annotation ciliumhybrid.io/reconcile to a new value",
            id="failed without findings",
        ),
    ],
)
def test_the_message_reports_the_progress(
    reported: PreflightStatus | None, observed: PreflightObservation, message: str
) -> None:
    observation = replace(a_healthy_observation(a_step_of(UP, VERSION)), preflight=observed)
    result = evaluate_preflight(observation, None, TIMEOUT, 0.0)
    decision = require_preflight(UP, an_upgrade_path().next, PreflightCheck(reported, observed, result))

    assert decision is not None
    assert decision.message == message


STALLED = Decision(Nothing(), Reason.RENDER_REFUSED, "no", stalled=True)
BACKING_OFF = Decision(Nothing(), Reason.CHART_UNAVAILABLE, "later")


@pytest.mark.parametrize(
    ("decision", "reported", "observed", "expected"),
    [
        pytest.param(STALLED, None, NONE, None, id="none reported"),
        pytest.param(STALLED, a_status(NEXT, RUNNING), READY_CHECK, None, id="not running while stalled"),
        pytest.param(STALLED, a_status(NEXT), NONE, a_status(NEXT), id="passed before"),
        pytest.param(STALLED, a_status(NEXT, FAILED), NONE, a_status(NEXT, FAILED), id="failed before"),
        pytest.param(
            BACKING_OFF,
            a_status(NEXT, RUNNING),
            READY_CHECK,
            a_status(NEXT, RUNNING),
            id="still running",
        ),
        pytest.param(BACKING_OFF, a_status(NEXT, RUNNING), NONE, None, id="removed"),
        pytest.param(
            replace(BACKING_OFF, preflight=a_status(NEXT, RUNNING)),
            a_status(NEXT, RUNNING),
            NONE,
            a_status(NEXT, RUNNING),
            id="its start is retried later",
        ),
        pytest.param(
            replace(STALLED, preflight=a_status(NEXT, FAILED)),
            a_status(NEXT, RUNNING),
            READY_CHECK,
            a_status(NEXT, FAILED),
            id="failed now",
        ),
    ],
)
def test_a_check_that_cannot_run_is_not_reported_as_running(
    decision: Decision,
    reported: PreflightStatus | None,
    observed: PreflightObservation,
    expected: PreflightStatus | None,
) -> None:
    assert preflight_status(decision, PreflightCheck(reported, observed)) == expected


@pytest.mark.parametrize(
    ("spec", "handled", "repeated"),
    [
        pytest.param(UP, "", False, id="the same check"),
        pytest.param(a_spec(version=TARGET, upgrade={"rollout": {"soak": "1m"}}), "", False, id="another soak time"),
        pytest.param(UP, "again", True, id="a person asked for it"),
        pytest.param(a_spec(version=TARGET, masquerade=False), "", True, id="another release"),
        pytest.param(a_spec(version=TARGET, upgrade={"preflight": {"timeout": "1h"}}), "", True, id="another timeout"),
    ],
)
def test_a_failed_check_is_repeated_when_its_inputs_change(spec: Spec, handled: str, repeated: bool) -> None:
    check = PreflightCheck(a_status(NEXT, FAILED))
    decision = require_preflight(spec, an_upgrade_path(spec).next, check, handled)

    assert decision is not None
    assert isinstance(decision.action, StartPreflight) == repeated
