"""Fixtures of the testbed's own tests."""

from pathlib import Path

import pytest

import testbed


@pytest.fixture(autouse=True)
def _importable_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python child processes import the testbed."""
    assert testbed.__file__ is not None
    monkeypatch.setenv("PYTHONPATH", str(Path(testbed.__file__).parents[1]))
