"""Whether a plan can be approved: judged by what the status says, and by what a person means."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_hybrid.api.status import Status, parse_status
from cilium_hybrid.cli.status_text import awaits_approval, plain, proposal
from cilium_hybrid.cli.status_view import ready_of

if TYPE_CHECKING:
    from cilium_hybrid.adapters.kube.approval import Asked


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan that waits for a person, and how it reads."""

    digest: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Approved:
    """The plan that was approved before."""

    digest: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing can be approved, and why."""

    message: str


def propose(asked: "Asked", meant: str | None) -> Proposal | Approved | Nothing:
    """What there is to approve. `meant`: the digest of the only plan that may be approved."""
    generation, ready = asked.resource.generation, ready_of(asked.resource)
    status = parse_status(asked.resource.status)
    if status is None:
        return Nothing("this command is of another version than the operator, and cannot read its plan")
    if not ready.current:
        return Nothing(f"the operator has not looked at generation {generation} yet: try again in a moment")
    digest = status.plan_digest
    if digest is None or not (awaits_approval(status) or asked.resource.approved == digest):
        return Nothing(plain(f"nothing awaits approval: Ready is {ready.status} {ready.reason}: {ready.message}"))
    if meant not in {None, digest}:
        return Nothing(f"the plan is {digest}, and not {meant}")
    return Approved(digest) if asked.resource.approved == digest else _proposal(digest, status)


def _proposal(digest: str, status: Status) -> Proposal:
    return Proposal(digest, tuple(map(str, proposal(status))))
