"""What the testbed's own tests share."""

from pathlib import Path

import pytest

import testbed


@pytest.fixture(autouse=True)
def _importable_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python programs that a test starts import the testbed."""
    assert testbed.__file__ is not None
    monkeypatch.setenv("PYTHONPATH", str(Path(testbed.__file__).parents[1]))
