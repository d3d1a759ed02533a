"""What a command loads is its start-up time, and what the operator loads is its memory."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        pytest.param("cilium_hybrid.__main__", {"kopf", "kubernetes", "aiohttp", "rich"}, id="the command"),
        pytest.param("cilium_hybrid.operate", {"rich", "typer"}, id="the operator"),
    ],
)
def test_only_what_is_needed_is_loaded(module: str, unwanted: set[str]) -> None:
    program = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())

    assert "cilium_hybrid" in loaded
    assert loaded & unwanted == set()
