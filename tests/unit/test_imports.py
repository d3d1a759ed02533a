"""Imports determine the start-up time of the command line and the memory of the operator."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        pytest.param("cilium_hybrid.commands", {"kopf", "kubernetes", "aiohttp", "rich"}, id="command line"),
        pytest.param("cilium_hybrid.operate", {"rich", "typer"}, id="operator"),
    ],
)
def test_unneeded_libraries_are_not_imported(module: str, unwanted: set[str]) -> None:
    program = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())

    assert "cilium_hybrid" in loaded
    assert loaded & unwanted == set()


def test_the_operator_starts_without_the_libraries_of_the_command_line() -> None:
    program = "import sys; from cilium_hybrid.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"
    # An invalid setting ends it before it connects to a cluster.
    result = subprocess.run(
        [sys.executable, "-c", program, "run"],
        env={"CILIUM_HYBRID_HELM": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert result.stderr.startswith("cilium-hybrid: ")
    assert "cilium_hybrid.operate" in result.stdout.split()
    assert "typer" not in result.stdout.split()
