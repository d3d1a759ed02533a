"""`cilium-hybrid approve`: approves the plan that the operator wants to carry out."""

import asyncio
import sys
from typing import Annotated, assert_never

import typer

from cilium_hybrid.cli.options import ExitCode, KubeconfigOption, exit_with, kubeconfig_path, usage_error
from cilium_hybrid.ports import PortError, StaleError


def approve(
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest",
            metavar="DIGEST",
            help="Approve only the plan with this digest, without asking for confirmation.",
        ),
    ] = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show the plan that awaits approval, and approve it.

    Asks for confirmation. If standard input is not a terminal, --digest is required.

    Exit codes: 0 approved, 1 nothing to approve or not approved, 2 usage error or no answer from the cluster.
    """
    if digest is None and not sys.stdin.isatty():
        raise usage_error("standard input is not a terminal; pass the value of status.planDigest with --digest")
    try:
        _approve(kubeconfig_path(kubeconfig), digest)
    except StaleError as error:
        raise exit_with(ExitCode.FAILED, f"{error}; review the plan again") from None
    except PortError as error:
        raise usage_error(str(error)) from None


def _approve(kubeconfig: str | None, expected_digest: str | None) -> None:
    # Imported here: the commands that need no cluster start in half the time without it.
    from cilium_hybrid.adapters.kube.approval import read_approval_request, write_approval  # noqa: PLC0415
    from cilium_hybrid.cli.approval import (  # noqa: PLC0415
        AlreadyApproved,
        NothingToApprove,
        PendingPlan,
        find_pending_plan,
    )

    request = asyncio.run(read_approval_request(kubeconfig))
    match find_pending_plan(request, expected_digest):
        case NothingToApprove(message):
            raise exit_with(ExitCode.FAILED, message)
        case AlreadyApproved(digest):
            typer.echo(f"already approved: {digest}")
        case PendingPlan(digest, lines):
            typer.echo("\n".join(lines))
            # No event loop runs while the user is asked: it would swallow Ctrl-C.
            if expected_digest is None and not typer.confirm("Approve this plan?", err=True):
                raise exit_with(ExitCode.FAILED, "not approved")
            asyncio.run(write_approval(kubeconfig, request, digest))
            typer.echo(f"approved: {digest}")
        case unknown:
            assert_never(unknown)
