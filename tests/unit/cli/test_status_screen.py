import io

import pytest
from rich.console import Console

from cilium_hybrid.cli.status_screen import BAR, screen
from cilium_hybrid.cli.status_text import Line, Mood, Row

READY = Line("Ready", "True InSync: fine", Mood.GOOD)
ROLLOUT = Line("rollout", "2 of 5 agents updated", Mood.BUSY, (2, 5))
NODES = tuple(Row(f"mi-{number}", "Ready", "", "10.85.0.0/25", Mood.GOOD) for number in range(30))
FAILING = Row("mi-x", "AgentNotReady", "3m ago", "pod x: [red]CrashLoopBackOff[/] :warning:", Mood.BAD)


def drawn(
    *facts: Line, nodes: tuple[Row, ...] = (), height: int | None = None, width: int = 80, color: bool = False
) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=False,
    )
    with console.capture() as captured:
        console.print(screen(facts, nodes, height))
    return captured.get()


@pytest.mark.parametrize(
    ("done", "total", "full"),
    [(0, 5, 0), (2, 5, 12), (5, 5, BAR), (0, 0, 0)],
    ids=["not begun", "begun", "done", "of nothing"],
)
def test_a_bar_is_as_long_as_what_is_done(done: int, total: int, full: int) -> None:
    line = Line("rollout", "so many", Mood.BUSY, (done, total))
    (shown,) = drawn(line).splitlines()

    assert shown.rstrip() == f"rollout  {'━' * full}{' ' * (BAR - full)} so many"


def test_moods_are_colours() -> None:
    assert "\x1b[32mTrue InSync: fine" in drawn(READY, color=True)
    assert "\x1b[33m2 of 5 agents updated" in drawn(ROLLOUT, color=True)
    assert "\x1b[31mAgent" in drawn(nodes=(FAILING,), color=True)
    assert "\x1b[" not in drawn(READY, ROLLOUT, nodes=(FAILING,))


def test_words_of_others_are_no_markup() -> None:
    assert FAILING.detail in drawn(nodes=(FAILING,))


@pytest.mark.parametrize(
    ("height", "shown"),
    [
        pytest.param(None, 30, id="not live: all"),
        pytest.param(35, 30, id="all have room"),
        pytest.param(34, 29, id="one has none"),
        pytest.param(10, 5, id="a usual terminal"),
        pytest.param(1, 1, id="hardly any room"),
    ],
)
def test_a_live_screen_has_as_many_nodes_as_it_has_room_for(height: int | None, shown: int) -> None:
    text = drawn(READY, ROLLOUT, nodes=NODES, height=height)

    assert text.count("mi-") == shown
    assert (f"and {30 - shown} more" in text) is (shown < 30)


def test_on_a_narrow_terminal_names_stay_whole_and_what_is_said_is_folded() -> None:
    text = drawn(Line("Ready", "False RollingOut: " + "word " * 20), nodes=(FAILING,), width=40)

    assert max(map(len, text.splitlines())) <= 40
    assert text.count("word") == 20
    assert "mi-x  Agent  3m ago  pod x:" in text
