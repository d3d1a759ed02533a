"""The fields that every log line of a reconciliation has."""

from contextvars import ContextVar
from typing import Any

LOG_CONTEXT: ContextVar[dict[str, Any]] = ContextVar("LOG_CONTEXT", default={})  # noqa: B039 # replaced, never changed


def add_log_context(**fields: object) -> None:
    """Add fields to all further log lines of this reconciliation."""
    LOG_CONTEXT.set({**LOG_CONTEXT.get(), **fields})
