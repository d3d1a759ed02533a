"""Why a pod does not run, as the kubelet and its containers report it.

A message stays the same while only time passes: otherwise each kubelet retry would change the status.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Raw = Mapping[str, Any]

MAX_MESSAGE_LENGTH: Final = 200
"""In characters."""
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_TIMESTAMP: Final = re.compile(r'(?:time=)?"?\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)"?\s*')
_DURATION: Final = re.compile(r"\b(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?(?:ms|s)\b")
_FATAL: Final = re.compile(r"fatal|panic", re.IGNORECASE)
# Every connection has another source port.
_SOURCE_PORT: Final = re.compile(r"(?<=:)\d+(?=->)")
_PULL_ERROR: Final = re.compile(r"\b(?:ErrImagePull|RegistryUnavailable|SignatureValidationFailed)\b")
_PULL_BACK_OFF: Final = "ImagePullBackOff"
_CRASH: Final = "CrashLoopBackOff"


def failure_message(status: Raw) -> str:
    """Return why a container waits or the pod failed; empty if neither is the case."""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _STARTING:
            return shorten(_waiting_message(str(waiting["reason"]), str(waiting.get("message") or ""), container))
    if status.get("phase") == "Failed":
        return shorten(f"{status.get('reason') or 'Failed'}: {status.get('message') or 'the pod failed'}")
    return ""


def crash_message(status: Raw) -> str:
    """Return why an unready container crashed, worded as while it waits for its restart; empty if none crashed."""
    conditions = status.get("conditions") or []
    unready_since = next((item.get("lastTransitionTime") for item in conditions if item.get("type") == "Ready"), None)
    for container in _containers(status):
        started = ((container.get("state") or {}).get("running") or {}).get("startedAt")
        # Timestamps sort as text. If the pod was Ready after the restart, the crash is not why it is unready now.
        if unready_since and started and started < unready_since:
            continue
        if not container.get("ready") and (message := _termination_message(container)):
            return shorten(f"{_CRASH}: {message}")
    return ""


def shorten(text: str) -> str:
    """Return a text as one line of bounded length, without timestamps, durations and source ports."""
    line = " ".join(_SOURCE_PORT.sub("…", _DURATION.sub("…", _TIMESTAMP.sub("", text))).split())
    return line if len(line) <= MAX_MESSAGE_LENGTH else line[: MAX_MESSAGE_LENGTH - 1] + "…"


def keep_pull_error(before: str, now: str) -> str:
    """Return the failure message `now`, or the one `before` if it describes the same failing image pull better.

    Kubelets before 1.32 report the error at each attempt, and only the image between two attempts.
    """
    return before if now and _pull_detail(before) > _pull_detail(now) > 0 else now


def _pull_detail(message: str) -> int:
    """Rank what a message says of a failing pull: 3 the error, 2 the image, 1 only the reason, 0 another failure."""
    if _PULL_ERROR.match(message):
        return 3 if ": " in message else 1
    return 2 if message.startswith(_PULL_BACK_OFF) else 0


def _containers(status: Raw) -> Iterator[Raw]:
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _waiting_message(reason: str, message: str, container: Raw) -> str:
    # Between two attempts newer kubelets repeat the last error in the message: report it under its own reason.
    if reason == _PULL_BACK_OFF and (error := _PULL_ERROR.search(message)):
        return message[error.start() :]
    detail = (_termination_message(container) if reason == _CRASH else "") or message
    return f"{reason}: {detail}" if detail else reason


def _termination_message(container: Raw) -> str:
    """Return why a container that failed terminated; empty if it did not fail."""
    state, last_state = container.get("state") or {}, container.get("lastState") or {}
    terminated = state.get("terminated") or last_state.get("terminated")
    if not terminated or not terminated.get("exitCode"):
        return ""
    lines = [line for line in str(terminated.get("message") or "").splitlines() if line.strip()]
    if not lines:
        return f"{terminated.get('reason') or 'Error'}, exit code {terminated['exitCode']}"
    # The message may be the end of the log: the line with the cause is near its end.
    return next((line for line in reversed(lines) if _FATAL.search(line)), lines[-1])
