"""Renders a status for a terminal: with colors and progress bars, and cut to the screen's height while it is live."""

from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cilium_hybrid.cli.status_text import HEADER, FactLine, Level, NodeRow

BAR_WIDTH: Final = 30

_STYLES: Final = {Level.INFO: "", Level.OK: "green", Level.PENDING: "yellow", Level.ERROR: "red"}
_OTHER_LINES: Final = 3
"""The blank line, the table header and the line "and N more"."""


def render_screen(facts: tuple[FactLine, ...], nodes: tuple[NodeRow, ...], height: int | None = None) -> RenderableType:
    """Return the facts and as many nodes as fit into `height` lines; all nodes without `height`."""
    shown = len(nodes) if height is None else max(1, height - len(facts) - _OTHER_LINES)
    parts: list[RenderableType] = [_facts_grid(facts)]
    if nodes:
        parts += [Text(), _nodes_table(nodes[:shown])]
    if more := len(nodes[shown:]):
        parts.append(Text(f"and {more} more", style="dim"))
    return Group(*parts)


def _facts_grid(facts: tuple[FactLine, ...]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for line in facts:
        text = Text(line.text, style=_STYLES[line.level])
        grid.add_row(line.label, text if line.progress is None else _with_bar(text, *line.progress))
    return grid


def _with_bar(text: Text, done: int, total: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=max(total, 1), completed=done, width=BAR_WIDTH), text)
    return grid


def _nodes_table(nodes: tuple[NodeRow, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in HEADER:
        # Only the last column may wrap.
        table.add_column(name, no_wrap=name != HEADER[-1], overflow="fold")
    for row in nodes:
        table.add_row(Text(row.name), Text(row.state, style=_STYLES[row.level]), row.since, Text(row.detail))
    return table
