"""Why a pod does not run, in the words of kubelet and program; the same as long as nothing but the time goes on."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Raw = Mapping[str, Any]

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_LONGEST: Final = 200
# A log line says when, and a kubelet how long: what only tells the time would make each look a change.
_MOMENT: Final = re.compile(r'(?:time=)?"?\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)"?\s*')
_DURATION: Final = re.compile(r"\b(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?(?:ms|s)\b")
_LAST_WORDS: Final = re.compile(r"fatal|panic", re.IGNORECASE)
# Every connection is from another port.
_PORT: Final = re.compile(r"(?<=:)\d+(?=->)")
_PULL: Final = re.compile(r"\b(?:ErrImagePull|RegistryUnavailable|SignatureValidationFailed)\b")
_PULL_BACK_OFF: Final = "ImagePullBackOff"
_CRASH: Final = "CrashLoopBackOff"


def failure_message(status: Raw) -> str:
    """Why a container waits; empty where none does."""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _STARTING:
            return short(_waits(str(waiting["reason"]), str(waiting.get("message") or ""), container))
    if status.get("phase") == "Failed":
        return short(f"{status.get('reason') or 'Failed'}: {status.get('message') or 'the pod ended'}")
    return ""


def crash_message(status: Raw) -> str:
    """Why a container that is not well ended, told as while it waits for its next start; empty where none did."""
    conditions = status.get("conditions") or []
    unready_since = next((one.get("lastTransitionTime") for one in conditions if one.get("type") == "Ready"), None)
    for container in _containers(status):
        started = ((container.get("state") or {}).get("running") or {}).get("startedAt")
        # Moments sort as text. A pod that was Ready in this run is not Ready for another reason.
        if unready_since and started and started < unready_since:
            continue
        if not container.get("ready") and (words := _ended(container)):
            return short(f"{_CRASH}: {words}")
    return ""


def short(text: str) -> str:
    """A text in one line of bounded length, without the time."""
    line = " ".join(_PORT.sub("…", _DURATION.sub("…", _MOMENT.sub("", text))).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def told_on(before: str, now: str) -> str:
    """The trouble of a pod that was in trouble `before`, in the same words while it fails to pull one image.

    Kubelets before 1.32 tell the error at each try, and between two of them the image alone.
    """
    return before if now and _tells_of_a_pull(before) > _tells_of_a_pull(now) > 0 else now


def _tells_of_a_pull(failure_message: str) -> int:
    """How much: the error, the image, or that there is one; 0 of another trouble."""
    if _PULL.match(failure_message):
        return 3 if ": " in failure_message else 1
    return 2 if failure_message.startswith(_PULL_BACK_OFF) else 0


def _containers(status: Raw) -> Iterator[Raw]:
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _waits(reason: str, message: str, container: Raw) -> str:
    # Between two tries the kubelet repeats what the last one said: one cause, told in one way.
    if reason == _PULL_BACK_OFF and (error := _PULL.search(message)):
        return message[error.start() :]
    words = (_ended(container) if reason == _CRASH else "") or message
    return f"{reason}: {words}" if words else reason


def _ended(container: Raw) -> str:
    """The last words of a container that failed; empty of one that did not."""
    ended = (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated")
    if not ended or not ended.get("exitCode"):
        return ""
    lines = [line for line in str(ended.get("message") or "").splitlines() if line.strip()]
    if not lines:
        return f"{ended.get('reason') or 'Error'}, exit code {ended['exitCode']}"
    # The message may be the end of the log: the line that tells why is near its end.
    return next((line for line in reversed(lines) if _LAST_WORDS.search(line)), lines[-1])
