"""Prints a status on a terminal, as lines or as documents; each prints only what changed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer

from cilium_hybrid.cli.options import Output, format_document
from cilium_hybrid.cli.status_text import PlainLine, changed_lines, fact_lines, node_rows, plain_lines
from cilium_hybrid.cli.status_view import View, to_document

Printer = Callable[[View, datetime], None]


def line_printer() -> Printer:
    """Return a printer of all lines at first, then of those that changed."""
    before: list[PlainLine] = []

    def show(view: View, _: datetime) -> None:
        after = plain_lines(view)
        if changed := changed_lines(before, after):
            typer.echo("\n".join(changed))
        before[:] = after

    return show


def document_printer(output: Output) -> Printer:
    """Return a printer of one document for each state that differs from the one before."""
    before: list[Any] = []

    def show(view: View, _: datetime) -> None:
        after = [to_document(view)]
        if after != before:
            typer.echo(format_document(after[0], output), nl=False)
        before[:] = after

    return show


@contextmanager
def terminal_printer(*, live: bool) -> Iterator[Printer]:
    """Return a printer in colors, redrawn in place if `live`; of lines if standard output is not a terminal."""
    if not sys.stdout.isatty():
        yield line_printer()
        return
    # Imported here: only a terminal needs it.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from cilium_hybrid.cli.status_screen import render_screen  # noqa: PLC0415

    console = Console()
    if console.is_dumb_terminal:
        yield line_printer()
    elif not live:
        yield lambda view, now: console.print(render_screen(fact_lines(view, now), node_rows(view, now)))
    else:
        with Live(console=console, auto_refresh=False) as display:
            before: list[Any] = []

            def show(view: View, now: datetime) -> None:
                facts, nodes = fact_lines(view, now), node_rows(view, now)
                after = [facts, nodes, console.size]
                # Redrawing clears the user's text selection.
                if after != before:
                    display.update(render_screen(facts, nodes, console.height), refresh=True)
                before[:] = after

            yield show
