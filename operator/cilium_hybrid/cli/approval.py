"""Decides from the operator's status whether a plan can be approved."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_hybrid.api.status import parse_status
from cilium_hybrid.cli.status_text import awaits_approval, plan_lines, to_plain_text
from cilium_hybrid.cli.status_view import ready_condition

if TYPE_CHECKING:
    from cilium_hybrid.adapters.kube.approval import ApprovalRequest


@dataclass(frozen=True, slots=True)
class PendingPlan:
    """A plan that awaits approval, and the lines that describe it."""

    digest: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlreadyApproved:
    """The current plan has been approved before."""

    digest: str


@dataclass(frozen=True, slots=True)
class NothingToApprove:
    """There is no plan that can be approved; the message says why."""

    message: str


def find_pending_plan(
    request: "ApprovalRequest", digest: str | None
) -> PendingPlan | AlreadyApproved | NothingToApprove:
    """Return the plan that can be approved. With `digest`, only the plan with that digest."""
    resource = request.resource
    ready, status = ready_condition(resource), parse_status(resource.status)
    if status is None:
        return NothingToApprove("the status was written by an operator of a different version; use the same version")
    if not ready.current:
        return NothingToApprove(
            f"the operator has not observed generation {resource.generation} yet; try again in a moment"
        )
    current = status.plan_digest
    if current is None or not (awaits_approval(status) or resource.approved == current):
        message = f"nothing awaits approval: Ready is {ready.status} {ready.reason}: {ready.message}"
        return NothingToApprove(to_plain_text(message))
    if digest not in {None, current}:
        return NothingToApprove(f"the current plan is {current}, not {digest}")
    if resource.approved == current:
        return AlreadyApproved(current)
    return PendingPlan(current, tuple(map(str, plan_lines(status))))
