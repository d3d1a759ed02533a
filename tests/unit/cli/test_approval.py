from typing import Any

import pytest

from builders import DIGEST, OTHER_DIGEST, a_condition, a_status
from cilium_hybrid.adapters.kube.approval import Asked
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, Version
from cilium_hybrid.cli.approval import Approved, Nothing, Proposal, propose
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.reconcile.reconciler import dump

LINES = ("version: 1.17.9-0 runs, 1.18.8-1 is wanted", "plan: 1.18.8-1: Pending", f"digest: {DIGEST}")
NOTHING = "nothing awaits approval: Ready is False Upgrading: as it was"


def asked(
    *,
    reason: Reason = Reason.AWAITING_APPROVAL,
    digest: str | None = DIGEST,
    approved: str | None = None,
    generation: int = 1,
) -> Asked:
    status = a_status(
        a_condition(ConditionType.READY, "False", reason),
        version=Version(running="1.17.9-0", target="1.18.8-1"),
        plan=(PlanStep(version="1.18.8-1", phase=PlanPhase.PENDING),),
        plan_digest=digest,
    )
    return Asked(Resource(generation, "7", {}, dump(status), approved=approved), annotated=approved is not None)


@pytest.mark.parametrize(
    ("found", "meant", "expected"),
    [
        pytest.param(asked(), None, Proposal(DIGEST, LINES), id="a plan waits"),
        pytest.param(asked(), DIGEST, Proposal(DIGEST, LINES), id="the plan that is meant waits"),
        pytest.param(asked(approved=OTHER_DIGEST), None, Proposal(DIGEST, LINES), id="another one was approved"),
        pytest.param(
            asked(), OTHER_DIGEST, Nothing(f"the plan is {DIGEST}, and not {OTHER_DIGEST}"), id="another one is meant"
        ),
        pytest.param(asked(approved=DIGEST), None, Approved(DIGEST), id="approved a moment ago"),
        pytest.param(asked(reason=Reason.UPGRADING, approved=DIGEST), DIGEST, Approved(DIGEST), id="being carried out"),
        pytest.param(
            asked(reason=Reason.UPGRADING, approved=DIGEST),
            OTHER_DIGEST,
            Nothing(f"the plan is {DIGEST}, and not {OTHER_DIGEST}"),
            id="another one is being carried out",
        ),
        pytest.param(asked(reason=Reason.UPGRADING), None, Nothing(NOTHING), id="it needs no approval"),
        pytest.param(
            asked(digest=None),
            None,
            Nothing("nothing awaits approval: Ready is False AwaitingApproval: as it was"),
            id="it has no digest",
        ),
        pytest.param(
            asked(generation=2, approved=DIGEST),
            None,
            Nothing("the operator has not looked at generation 2 yet: try again in a moment"),
            id="the spec has changed since",
        ),
    ],
)
def test_only_the_plan_of_the_present_generation_that_waits_can_be_approved(
    found: Asked, meant: str | None, expected: Proposal | Approved | Nothing
) -> None:
    assert propose(found, meant) == expected


def test_a_plan_in_words_that_are_not_known_cannot_be_approved() -> None:
    condition: dict[str, Any] = {"type": "Ready", "status": "False", "reason": "News", "message": "m"}
    raw = {"planDigest": DIGEST, "conditions": [condition | {"observedGeneration": 1}]}

    assert propose(Asked(Resource(1, "7", {}, raw), annotated=False), None) == Nothing(
        "this command is of another version than the operator, and cannot read its plan"
    )
