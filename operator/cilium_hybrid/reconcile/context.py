"""What every log line of a pass carries."""

from contextvars import ContextVar
from typing import Any

LOG_CONTEXT: ContextVar[dict[str, Any]] = ContextVar("PASS", default={})  # noqa: B039 # replaced, never changed


def note(**facts: object) -> None:
    """Add facts to every further log line of this pass."""
    LOG_CONTEXT.set({**LOG_CONTEXT.get(), **facts})
