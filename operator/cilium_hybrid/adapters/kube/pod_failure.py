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
# Fields of a line of Cilium's log.
_LOG_FIELD: Final = re.compile(r'(?:^|\s)(msg|error)="((?:[^"\\]|\\.)*)"')
_DID_NOT_START: Final = re.compile(r"^(?:(?:unable to run agent|failed to start|daemon creation failed): )+")
# Every connection has another source port.
_SOURCE_PORT: Final = re.compile(r"(?<=:)\d+(?=->)")
_PULL_ERROR: Final = re.compile(r"\b(?:ErrImagePull|RegistryUnavailable|SignatureValidationFailed)\b")
_PULL_BACK_OFF: Final = "ImagePullBackOff"
_PULL_REASONS: Final = frozenset({"ErrImagePull", _PULL_BACK_OFF})
_INVALID_IMAGE: Final = "InvalidImageName"
# Quoted texts are names of images and URLs, which may contain any word.
_QUOTED: Final = re.compile(r'\\?"[^"]*"')
_REFUSED_IMAGE: Final = re.compile(
    r"not found|manifest unknown|name unknown|does not exist|denied|unauthorized|authorization failed|forbidden"
    r"|invalid reference format|no basic auth credentials|status(?: code)?:? 40[134]\b|\b40[134] (?:unauth|forbid|not)",
    re.IGNORECASE,
)
_PASSING_PULL_ERROR: Final = re.compile(
    r"time-?out|timed out|deadline exceeded|too ?many ?requests|rate ?limit|\b429\b|\b5\d\d\b|internal server error"
    r"|bad gateway|unavailable|no such host|server misbehaving|connection (?:refused|reset)|no route to host"
    r"|unreachable|\bEOF\b|no space left|disk pressure|certificate|x509",
    re.IGNORECASE,
)
_CRASH: Final = "CrashLoopBackOff"
_NODE_REASONS: Final = frozenset({"Unknown", "ContainerStatusUnknown"})
"""Reasons of containers that the runtime or the kubelet lost, as when the node reboots. Exit codes 255 and 137."""


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


def exits(status: Raw) -> int:
    """Return how often a container has exited, the highest number of all containers.

    An init container that succeeds has not failed, so that does not count. Neither does the last exit of a container
    that went down with its node; the boot ID of the node shows earlier ones.
    """
    of_init = [_exits(container, init=True) for container in status.get("initContainerStatuses") or []]
    return max(of_init + [_exits(container) for container in status.get("containerStatuses") or []], default=0)


def _exits(container: Raw, *, init: bool = False) -> int:
    state, last = container.get("state") or {}, (container.get("lastState") or {}).get("terminated")
    count = int(container.get("restartCount") or 0)
    if (state.get("waiting") or {}).get("reason") == _CRASH:
        # The container is not restarted yet, so its last exit is not counted yet.
        return count + (last is not None and _is_failure(last, init=init))
    if last is not None and not _is_failure(last, init=init):
        count = max(count - 1, 0)
    ended = state.get("terminated")
    return count + (ended is not None and _is_failure(ended, init=init))


def _is_failure(terminated: Raw, *, init: bool) -> bool:
    if terminated.get("reason") in _NODE_REASONS:
        return False
    return not (init and not terminated.get("exitCode"))


def image_failing(status: Raw) -> bool:
    """Return whether a registry answers that an image does not exist or denies it, or the image's name is invalid."""
    waiting = ((container.get("state") or {}).get("waiting") or {} for container in _containers(status))
    return any(_image_failing(str(found.get("reason")), str(found.get("message") or "")) for found in waiting)


def _image_failing(reason: str, message: str) -> bool:
    if reason == _INVALID_IMAGE:
        return True
    cause = _QUOTED.sub("", message)
    return (
        reason in _PULL_REASONS
        and _REFUSED_IMAGE.search(cause) is not None
        and _PASSING_PULL_ERROR.search(cause) is None
    )


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
    """Return why a container that failed terminated; empty if it did not fail, or went down with its node."""
    state, last_state = container.get("state") or {}, container.get("lastState") or {}
    terminated = state.get("terminated") or last_state.get("terminated")
    if not terminated or not terminated.get("exitCode") or terminated.get("reason") in _NODE_REASONS:
        return ""
    lines = [line for line in str(terminated.get("message") or "").splitlines() if line.strip()]
    if not lines:
        return f"{terminated.get('reason') or 'Error'}, exit code {terminated['exitCode']}"
    # The message may be the end of the log: the line with the cause is near its end.
    return _cause(next((line for line in reversed(lines) if _FATAL.search(line)), lines[-1]))


def _cause(line: str) -> str:
    """Return what a line of a log says, without what every fatal line of Cilium says before it."""
    fields = {name: text.replace('\\"', '"') for name, text in _LOG_FIELD.findall(line)}
    if not fields.get("msg"):
        return line
    return _DID_NOT_START.sub("", ": ".join(filter(None, (fields["msg"], fields.get("error")))))
