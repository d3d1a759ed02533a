"""Durations in the syntax of Kubernetes and Go: 30s, 20m, 1h30m."""

import re
from datetime import timedelta

DURATION_PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"


def duration(text: str) -> timedelta:
    """Parse a duration; raise ValueError if it is not valid."""
    match = re.fullmatch(DURATION_PATTERN, text, re.ASCII)
    if match is None or not text:
        raise ValueError(f"{text!r} is not a duration such as 30s, 20m or 1h30m")
    hours, minutes, seconds = (int(part[:-1]) if part else 0 for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
