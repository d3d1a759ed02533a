"""How the operator logs: one line an event, JSON for machines or plain text for people."""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter


def configure(log_format: str, context: ContextVar[dict[str, Any]]) -> None:
    """Log to stderr; `log_format` is json or text. JSON lines carry what `context` holds when they are written."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(_ContextFormatter(context))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Their words at INFO are about themselves.
    for library in ("pyhelm3", "aiohttp"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # Each lost connection is a traceback to kopf, and our own watches tell of it in one line; what ends it reaches us.
    logging.getLogger("kopf").setLevel(logging.CRITICAL)


class _ContextFormatter(JsonFormatter):
    def __init__(self, context: ContextVar[dict[str, Any]]) -> None:
        names = {"levelname": "level", "name": "logger"}
        super().__init__("{levelname}{name}{message}", style="{", timestamp=True, rename_fields=names)
        self._context = context

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: Mapping[str, Any]) -> None:
        super().add_fields(log_data, record, dict(message_dict))
        log_data.update(self._context.get())
