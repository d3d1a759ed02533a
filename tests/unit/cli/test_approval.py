from typing import Any

import pytest

from builders import DIGEST, OTHER_DIGEST, a_condition, a_status
from cilium_hybrid.adapters.kube.approval import ApprovalRequest
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, Version
from cilium_hybrid.cli.approval import AlreadyApproved, NothingToApprove, PendingPlan, find_pending_plan
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.reconcile.reconciler import dump

LINES = ("version: 1.17.9-0 running, 1.18.8-1 target", "plan: 1.18.8-1: Pending", f"digest: {DIGEST}")
NOT_AWAITING = "nothing awaits approval: Ready is False Upgrading: unchanged"


def a_request(
    *,
    reason: Reason = Reason.AWAITING_APPROVAL,
    digest: str | None = DIGEST,
    approved: str | None = None,
    generation: int = 1,
) -> ApprovalRequest:
    status = a_status(
        a_condition(ConditionType.READY, "False", reason),
        version=Version(running="1.17.9-0", target="1.18.8-1"),
        plan=(PlanStep(version="1.18.8-1", phase=PlanPhase.PENDING),),
        plan_digest=digest,
    )
    return ApprovalRequest(
        Resource(generation, "7", {}, dump(status), approved=approved), annotated=approved is not None
    )


@pytest.mark.parametrize(
    ("request_", "digest", "expected"),
    [
        pytest.param(a_request(), None, PendingPlan(DIGEST, LINES), id="a pending plan"),
        pytest.param(a_request(), DIGEST, PendingPlan(DIGEST, LINES), id="the pending plan has the given digest"),
        pytest.param(
            a_request(approved=OTHER_DIGEST), None, PendingPlan(DIGEST, LINES), id="another plan was approved"
        ),
        pytest.param(
            a_request(),
            OTHER_DIGEST,
            NothingToApprove(f"the current plan is {DIGEST}, not {OTHER_DIGEST}"),
            id="the given digest is of another plan",
        ),
        pytest.param(a_request(approved=DIGEST), None, AlreadyApproved(DIGEST), id="approved a moment ago"),
        pytest.param(
            a_request(reason=Reason.UPGRADING, approved=DIGEST),
            DIGEST,
            AlreadyApproved(DIGEST),
            id="the approved upgrade is running",
        ),
        pytest.param(
            a_request(reason=Reason.UPGRADING, approved=DIGEST),
            OTHER_DIGEST,
            NothingToApprove(f"the current plan is {DIGEST}, not {OTHER_DIGEST}"),
            id="the upgrade of another plan is running",
        ),
        pytest.param(a_request(reason=Reason.UPGRADING), None, NothingToApprove(NOT_AWAITING), id="no approval needed"),
        pytest.param(
            a_request(digest=None),
            None,
            NothingToApprove("nothing awaits approval: Ready is False AwaitingApproval: unchanged"),
            id="no digest",
        ),
        pytest.param(
            a_request(generation=2, approved=DIGEST),
            None,
            NothingToApprove("the operator has not observed generation 2 yet; try again in a moment"),
            id="the spec has changed since",
        ),
    ],
)
def test_only_a_pending_plan_of_the_current_generation_can_be_approved(
    request_: ApprovalRequest, digest: str | None, expected: PendingPlan | AlreadyApproved | NothingToApprove
) -> None:
    assert find_pending_plan(request_, digest) == expected


def test_a_status_of_a_different_version_cannot_be_approved() -> None:
    condition: dict[str, Any] = {"type": "Ready", "status": "False", "reason": "FutureReason", "message": "m"}
    raw = {"planDigest": DIGEST, "conditions": [condition | {"observedGeneration": 1}]}

    assert find_pending_plan(ApprovalRequest(Resource(1, "7", {}, raw), annotated=False), None) == NothingToApprove(
        "the status was written by an operator of a different version; use the same version"
    )
