"""`cilium-hybrid approve`: let the operator carry out the plan that waits for a person."""

import asyncio
import os
import sys
from typing import Annotated, Final, assert_never

import typer

from cilium_hybrid.cli.status import unusable
from cilium_hybrid.ports import PortError, StaleError
from cilium_hybrid.settings import kubeconfig_of

NOT_APPROVED: Final = 1
"""Exit code where there is nothing to approve, or a person says no."""


def approve(
    digest: Annotated[
        str | None, typer.Option("--digest", help="Approve the plan with this digest, and no other; ask nobody.")
    ] = None,
) -> None:
    """Show the plan that awaits approval in the cluster of KUBECONFIG, and approve it.

    Without a terminal to ask on, --digest must name the plan that was looked at. Exit code: 0 approved,
    1 there is nothing to approve, or it is not wanted, 2 the call cannot be used.
    """
    if digest is None and not sys.stdin.isatty():
        raise unusable("there is no terminal to ask on: name the plan, --digest with status.planDigest")
    try:
        _approve(digest)
    except StaleError as stale:
        raise _not_approved(f"{stale}: look at the plan again") from None
    except PortError as error:
        raise unusable(str(error)) from None


def _approve(meant: str | None) -> None:
    # Imported here: the commands that need no cluster start in half the time without it.
    from cilium_hybrid.adapters.kube.approval import read_asked, write_approval  # noqa: PLC0415
    from cilium_hybrid.cli.approval import Approved, Nothing, Proposal, propose  # noqa: PLC0415

    kubeconfig = kubeconfig_of(os.environ)
    asked = asyncio.run(read_asked(kubeconfig))
    match propose(asked, meant):
        case Nothing(message):
            raise _not_approved(message)
        case Approved(digest):
            typer.echo(f"approved before: {digest}")
        case Proposal(digest, lines):
            typer.echo("\n".join(lines))
            # No event loop runs while a person reads: it would take their Ctrl-C for itself.
            if meant is None and not typer.confirm("Approve this plan?", err=True):
                raise _not_approved("not approved")
            asyncio.run(write_approval(kubeconfig, asked, digest))
            typer.echo(f"approved: {digest}")
        case unknown:
            assert_never(unknown)


def _not_approved(message: str) -> typer.Exit:
    typer.echo(f"cilium-hybrid: {message}", err=True)
    return typer.Exit(NOT_APPROVED)
