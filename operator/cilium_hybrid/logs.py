"""Logging of the operator: one line for each record, as JSON or as plain text."""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter


def configure(log_format: str, context: ContextVar[dict[str, Any]]) -> None:
    """Log to stderr as `json` or `text`. JSON lines include the fields that `context` has at that time."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(_ContextFormatter(context))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # At INFO these libraries log their own internals.
    for library in ("pyhelm3", "aiohttp"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # kopf logs a traceback for each lost connection, which our own watches report in one line. Fatal errors are raised.
    logging.getLogger("kopf").setLevel(logging.CRITICAL)


class _ContextFormatter(JsonFormatter):
    """Formats a record as JSON with the fields of the context."""

    def __init__(self, context: ContextVar[dict[str, Any]]) -> None:
        names = {"levelname": "level", "name": "logger"}
        super().__init__("{levelname}{name}{message}", style="{", timestamp=True, rename_fields=names)
        self._context = context

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: Mapping[str, Any]) -> None:
        super().add_fields(log_data, record, dict(message_dict))
        log_data.update(self._context.get())
