"""Where a status is shown: on a terminal, as lines, or as documents; each shows only what is new."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer
import yaml

from cilium_hybrid.cli.status_text import Printed, block, changes, lines, rows
from cilium_hybrid.cli.status_view import View, document

Show = Callable[[View, datetime], None]


def as_lines() -> Show:
    """All lines at first, then those that changed."""
    before: list[Printed] = []

    def show(view: View, _: datetime) -> None:
        after = block(view)
        if new := changes(before, after):
            typer.echo("\n".join(new))
        before[:] = after

    return show


def as_documents(write: Callable[[Any], str]) -> Show:
    """One document for each state that is not the one before."""
    before: list[Any] = []

    def show(view: View, _: datetime) -> None:
        after = [document(view)]
        if after != before:
            typer.echo(write(after[0]), nl=False)
        before[:] = after

    return show


def as_json(told: Any) -> str:
    """JSON, one document after another as `kubectl get --watch` does."""
    return json.dumps(told, indent=2) + "\n"


def as_yaml(told: Any) -> str:
    """YAML; the first line keeps it apart from a document before it."""
    return yaml.safe_dump(told, explicit_start=True, sort_keys=False)


@contextmanager
def on_stdout(*, live: bool) -> Iterator[Show]:
    """For people: on a terminal with colours, and drawn over what was there while it is live; else as lines."""
    if not sys.stdout.isatty():
        yield as_lines()
        return
    # Imported here: nothing but a terminal needs it.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from cilium_hybrid.cli.status_screen import screen  # noqa: PLC0415

    console = Console()
    if console.is_dumb_terminal:
        yield as_lines()
    elif not live:
        yield lambda view, now: console.print(screen(lines(view, now), rows(view, now)))
    else:
        with Live(console=console, auto_refresh=False) as display:
            before: list[Any] = []

            def show(view: View, now: datetime) -> None:
                after = [lines(view, now), rows(view, now), console.size]
                # What is drawn again takes away what somebody has marked on it.
                if after != before:
                    display.update(screen(lines(view, now), rows(view, now), console.height), refresh=True)
                before[:] = after

            yield show
