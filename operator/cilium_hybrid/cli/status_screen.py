"""A status on a terminal: with colours and bars, and no longer than what is seen at once while it is live."""

from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cilium_hybrid.cli.status_text import HEADER, Line, Mood, Row

BAR: Final = 30
"""Columns of a bar."""

_STYLES: Final = {Mood.PLAIN: "", Mood.GOOD: "green", Mood.BUSY: "yellow", Mood.BAD: "red"}
_AROUND: Final = 3
"""Lines that are neither facts nor nodes: the gap, the header, and how many more."""


def screen(facts: tuple[Line, ...], nodes: tuple[Row, ...], height: int | None = None) -> RenderableType:
    """All of it, or as much as `height` lines hold; of the nodes, those that fail come first."""
    room = len(nodes) if height is None else max(1, height - len(facts) - _AROUND)
    parts: list[RenderableType] = [_facts(facts)]
    if nodes:
        parts += [Text(), _table(nodes[:room])]
    if more := len(nodes[room:]):
        parts.append(Text(f"and {more} more", style="dim"))
    return Group(*parts)


def _facts(facts: tuple[Line, ...]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for line in facts:
        text = Text(line.text, style=_STYLES[line.mood])
        grid.add_row(line.label, text if line.bar is None else _with_bar(text, *line.bar))
    return grid


def _with_bar(text: Text, done: int, total: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=max(total, 1), completed=done, width=BAR), text)
    return grid


def _table(nodes: tuple[Row, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in HEADER:
        # Only what is said at length may be folded.
        table.add_column(name, no_wrap=name != HEADER[-1], overflow="fold")
    for row in nodes:
        table.add_row(Text(row.name), Text(row.state, style=_STYLES[row.mood]), row.since, Text(row.detail))
    return table
