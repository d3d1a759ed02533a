"""`cilium-hybrid status`: shows the resource and every hybrid node, once or until it is interrupted."""

import asyncio
import logging
import signal
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cilium_hybrid.adapters.clock import SystemClock
from cilium_hybrid.cli.options import KubeconfigOption, Output, OutputOption, kubeconfig_path, usage_error
from cilium_hybrid.ports import PortError

if TYPE_CHECKING:
    from cilium_hybrid.cli.status_output import Printer

REFRESH_SECONDS: Final = 1.0
"""Interval at which the status is printed again although nothing changed: ages grow."""
BATCH_SECONDS: Final = 0.1
"""Changes within this time are printed together."""


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Watch for changes until interrupted.")] = False,
    output: OutputOption = Output.TEXT,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show the state of Cilium on each hybrid node.

    Exit codes: 0 ready, 1 not ready, 2 usage error or no answer from the cluster. With --watch, the last state counts;
    while the API server does not answer, it is unknown (2).
    """
    # A watch that fails is shown in the status; it must not also be logged to the terminal.
    logging.getLogger("cilium_hybrid").addHandler(logging.NullHandler())
    try:
        code = asyncio.run(_status(kubeconfig_path(kubeconfig), output, watch=watch))
    except PortError as error:
        raise usage_error(str(error)) from None
    raise typer.Exit(code)


async def _status(kubeconfig: str | None, output: Output, *, watch: bool) -> int:
    # Imported here: the commands that need no cluster start in half the time without it, and the operator without rich.
    from cilium_hybrid.adapters.kube.status_watch import StatusWatch  # noqa: PLC0415
    from cilium_hybrid.cli.status_view import build_view, exit_code  # noqa: PLC0415

    clock, changed, interrupted = SystemClock(), asyncio.Event(), asyncio.Event()
    async with StatusWatch.open(kubeconfig, changed.set) as status_watch:
        if watch:
            _handle_signals(interrupted, changed)
        with _printer(output, live=watch) as show:
            while True:
                changed.clear()
                now = clock.now()
                view = build_view(status_watch.snapshot(), now)
                show(view, now)
                if not watch or interrupted.is_set():
                    return exit_code(view)
                with suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH_SECONDS):
                        await changed.wait()
                await asyncio.sleep(BATCH_SECONDS)


def _handle_signals(interrupted: asyncio.Event, changed: asyncio.Event) -> None:
    """End with an exit code, and with the cursor visible again."""

    def interrupt() -> None:
        interrupted.set()
        changed.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)


def _printer(output: Output, *, live: bool) -> "AbstractContextManager[Printer]":
    from cilium_hybrid.cli import status_output  # noqa: PLC0415

    if output is Output.TEXT:
        return status_output.terminal_printer(live=live)
    return nullcontext(status_output.document_printer(output))
