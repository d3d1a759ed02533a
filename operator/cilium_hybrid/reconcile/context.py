"""What every log line of a pass carries."""

from contextvars import ContextVar
from typing import Any

PASS: ContextVar[dict[str, Any]] = ContextVar("PASS", default={})  # noqa: B039 # replaced, never changed


def note(**facts: object) -> None:
    """Add facts to every further log line of this pass."""
    PASS.set({**PASS.get(), **facts})
