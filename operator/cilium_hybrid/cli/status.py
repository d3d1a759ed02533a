"""`cilium-hybrid status`: what runs, node by node, once or for as long as it is watched."""

import asyncio
import logging
import os
import signal
from contextlib import AbstractContextManager, nullcontext, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cilium_hybrid.adapters.clock import SystemClock
from cilium_hybrid.cli.findings import UNUSABLE
from cilium_hybrid.ports import PortError
from cilium_hybrid.settings import kubeconfig_of

if TYPE_CHECKING:
    from cilium_hybrid.cli.status_show import Show

TICK: Final = 1.0
"""Seconds after which it is shown again though nothing changed: what is told by its age got older."""
MERGE: Final = 0.1
"""Seconds within which changes are shown together."""


class Output(StrEnum):
    """How a status is printed."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, until Ctrl-C, with what changes.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="For people, or one document.")] = Output.TEXT,
) -> None:
    """Tell what runs in the cluster of KUBECONFIG, node by node.

    Exit code: 0 Ready, 1 not, 2 the call cannot be used; with --watch that of the last state.
    """
    # A watch that is lost shows in what is told; it is no news for the terminal beside it.
    logging.getLogger("cilium_hybrid").addHandler(logging.NullHandler())
    try:
        code = asyncio.run(_status(watch, output))
    except PortError as error:
        raise unusable(str(error)) from None
    raise typer.Exit(code)


def unusable(message: str) -> typer.Exit:
    """Say why the call cannot be used; to be raised."""
    typer.echo(f"cilium-hybrid: {message}", err=True)
    return typer.Exit(UNUSABLE)


async def _status(watch: bool, output: Output) -> int:
    # Imported here: the commands that need no cluster start in half the time without it, and the operator without rich.
    from cilium_hybrid.adapters.kube.status_watch import StatusWatch  # noqa: PLC0415
    from cilium_hybrid.cli.status_view import exit_code, view  # noqa: PLC0415

    clock, changed, interrupted = SystemClock(), asyncio.Event(), asyncio.Event()
    async with StatusWatch.look(kubeconfig_of(os.environ), changed.set) as status_watch:
        if watch:
            _take_signals(interrupted, changed)
        with _shown(output, live=watch) as show:
            while True:
                changed.clear()
                now = clock.now()
                told = view(status_watch.snapshot(), now)
                show(told, now)
                if not watch or interrupted.is_set():
                    return exit_code(told)
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK):
                        await changed.wait()
                await asyncio.sleep(MERGE)


def _take_signals(interrupted: asyncio.Event, changed: asyncio.Event) -> None:
    """End with an answer, and with a cursor that is seen again."""

    def interrupt() -> None:
        interrupted.set()
        changed.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)


def _shown(output: Output, *, live: bool) -> "AbstractContextManager[Show]":
    from cilium_hybrid.cli import status_show  # noqa: PLC0415

    match output:
        case Output.TEXT:
            return status_show.on_stdout(live=live)
        case Output.JSON:
            return nullcontext(status_show.as_documents(status_show.as_json))
        case Output.YAML:
            return nullcontext(status_show.as_documents(status_show.as_yaml))
