import io

import pytest
from rich.console import Console

from cilium_hybrid.cli.status_screen import BAR_WIDTH, render_screen
from cilium_hybrid.cli.status_text import FactLine, Level, NodeRow

READY = FactLine("Ready", "True InSync: fine", Level.OK)
ROLLOUT = FactLine("rollout", "2 of 5 nodes updated", Level.PENDING, (2, 5))
NODES = tuple(NodeRow(f"mi-{number}", "Ready", "", "10.85.0.0/25", Level.OK) for number in range(30))
UNREADY = NodeRow("mi-x", "AgentNotReady", "3m ago", "pod x: [red]CrashLoopBackOff[/] :warning:", Level.ERROR)


def render(
    *facts: FactLine, nodes: tuple[NodeRow, ...] = (), height: int | None = None, width: int = 80, color: bool = False
) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=False,
    )
    with console.capture() as captured:
        console.print(render_screen(facts, nodes, height))
    return captured.get()


@pytest.mark.parametrize(
    ("done", "total", "full"),
    [(0, 5, 0), (2, 5, 12), (5, 5, BAR_WIDTH), (0, 0, 0)],
    ids=["not started", "in progress", "done", "total of zero"],
)
def test_the_length_of_a_bar_is_the_progress(done: int, total: int, full: int) -> None:
    line = FactLine("rollout", "done", Level.PENDING, (done, total))
    (shown,) = render(line).splitlines()

    assert shown.rstrip() == f"rollout  {'━' * full}{' ' * (BAR_WIDTH - full)} done"


def test_levels_are_colored() -> None:
    assert "\x1b[32mTrue InSync: fine" in render(READY, color=True)
    assert "\x1b[33m2 of 5 nodes updated" in render(ROLLOUT, color=True)
    assert "\x1b[31mAgentNotReady" in render(nodes=(UNREADY,), color=True)
    assert "\x1b[" not in render(READY, ROLLOUT, nodes=(UNREADY,))


def test_markup_in_messages_is_not_interpreted() -> None:
    assert UNREADY.detail in render(nodes=(UNREADY,))


@pytest.mark.parametrize(
    ("height", "shown"),
    [
        pytest.param(None, 30, id="not live"),
        pytest.param(35, 30, id="all nodes fit"),
        pytest.param(34, 29, id="one node too many"),
        pytest.param(10, 5, id="a small terminal"),
        pytest.param(1, 1, id="one line"),
    ],
)
def test_a_live_screen_shows_as_many_nodes_as_fit(height: int | None, shown: int) -> None:
    text = render(READY, ROLLOUT, nodes=NODES, height=height)

    assert text.count("mi-") == shown
    assert (f"and {30 - shown} more" in text) is (shown < 30)


def test_on_a_narrow_terminal_names_are_not_wrapped_and_messages_are() -> None:
    text = render(FactLine("Ready", "False RollingOut: " + "word " * 20), nodes=(UNREADY,), width=40)

    assert max(map(len, text.splitlines())) <= 40
    assert text.count("word") == 20
    assert "mi-x  AgentNotReady  3m ago  pod x:" in text
