"""Why a pod does not run, in the words of kubelet and program."""

from collections.abc import Mapping
from typing import Any, Final

Raw = Mapping[str, Any]

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_LONGEST: Final = 200


def trouble(status: Raw) -> str:
    """Why a container waits or crashed, in the kubelet's words; empty where none does."""
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _STARTING:
            last = (container.get("lastState") or {}).get("terminated") or {}
            words = last.get("message") or waiting.get("message") or ""
            return short(f"{waiting['reason']}: {words}" if words else str(waiting["reason"]))
    if status.get("phase") == "Failed":
        return short(f"{status.get('reason') or 'Failed'}: {status.get('message') or 'the pod ended'}")
    return ""


def short(text: str) -> str:
    """A text in one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
