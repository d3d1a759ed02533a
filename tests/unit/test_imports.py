"""What a command loads is its start-up time, and what the operator loads is its memory."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        pytest.param("cilium_hybrid.commands", {"kopf", "kubernetes", "aiohttp", "rich"}, id="the command"),
        pytest.param("cilium_hybrid.operate", {"rich", "typer"}, id="the operator"),
    ],
)
def test_only_what_is_needed_is_loaded(module: str, unwanted: set[str]) -> None:
    program = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())

    assert "cilium_hybrid" in loaded
    assert loaded & unwanted == set()


def test_the_operator_is_started_without_a_command_line_s_libraries() -> None:
    program = "import sys; from cilium_hybrid.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"
    # A setting that it refuses ends it before it looks for a cluster.
    told = subprocess.run(
        [sys.executable, "-c", program, "run"],
        env={"CILIUM_HYBRID_HELM": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 2
    assert told.stderr.startswith("cilium-hybrid: ")
    assert "cilium_hybrid.operate" in told.stdout.split()
    assert "typer" not in told.stdout.split()
