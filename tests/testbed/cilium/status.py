"""What a kubelet would report of an agent pod, in each state that an agent can be in."""

from datetime import UTC, datetime
from enum import Enum
from typing import Any

from testbed.nodes import AGENT_FAULT

Object = dict[str, Any]

TOLD_TO_CRASH = 'level=fatal msg="failed to start: the agent was told to crash" subsys=daemon'


class State(Enum):
    """How an agent fares."""

    STARTING = "starting"
    READY = "ready"
    NEVER_READY = "never-ready"
    CRASH = "crash"
    PULL = "pull"


# The states in which the agent's own program runs.
RUNNING = (State.STARTING, State.READY, State.NEVER_READY)


def fault(node: Object, pod: Object) -> State | None:
    """Return the fault laid on a node or built into an image."""
    mark = node["metadata"].get("annotations", {}).get(AGENT_FAULT)
    if mark is not None:
        return State(mark)
    return State.CRASH if broken(pod) else None


def broken(pod: Object) -> bool:
    """Whether an image of the pod is one that cannot run."""
    return any("broken" in container["image"].rpartition("/")[2] for container in pod["spec"]["containers"])


def restarts(pod: Object) -> int:
    """Return how often the pod's first container was restarted."""
    containers = pod.get("status", {}).get("containerStatuses") or [{}]
    count: int = containers[0].get("restartCount", 0)
    return count


def says(actual: Any, expected: Any) -> bool:
    """Whether the actual status holds all of the expected one; the API server adds empty fields."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(says(actual.get(key), part) for key, part in expected.items())
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(says(one, part) for one, part in zip(actual, expected, strict=True))
        )
    return bool(actual == expected)


def status(pod: Object, node: Object, state: State, restart_count: int, *, last_words: str = TOLD_TO_CRASH) -> Object:
    """Return the pod's whole status; the same as it has, where nothing is new. `last_words` are of a crash."""
    old = pod.get("status", {})
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = state is State.READY
    why = {} if ready else {"reason": "ContainersNotReady"}
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Initialized", "status": "True"}
        if state is not State.PULL
        else {"type": "Initialized", "status": "False"},
        {"type": "ContainersReady", "status": str(ready), **why},
        {"type": "Ready", "status": str(ready), **why},
    ]
    address = next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
    return {
        "phase": "Pending" if state is State.PULL else "Running",
        "startTime": old.get("startTime", now),
        "hostIP": address,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [_since(condition, old.get("conditions", ()), now) for condition in conditions],
        "containerStatuses": [
            _container(container, old, state, restart_count, last_words, now) for container in pod["spec"]["containers"]
        ],
    }


def _since(condition: Object, old: Any, now: str) -> Object:
    """Keep the moment of a condition's last change where it did not change."""
    same = (one for one in old if one["type"] == condition["type"] and one["status"] == condition["status"])
    before: Object = next(same, {})
    return condition | {"lastTransitionTime": before.get("lastTransitionTime", now)}


def _container(container: Object, old: Object, state: State, restart_count: int, last_words: str, now: str) -> Object:
    before: Object = next((one for one in old.get("containerStatuses", ()) if one["name"] == container["name"]), {})
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": state is State.READY,
        "started": state in (State.READY, State.NEVER_READY),
        "restartCount": restart_count,
        "state": _state(container, before, state, now),
        "lastState": _last_state(before, state, restart_count, last_words, now),
    }


def _state(container: Object, before: Object, state: State, now: str) -> Object:
    match state:
        case State.PULL:
            message = f'Back-off pulling image "{container["image"]}"'
            return {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        case State.CRASH:
            message = f"back-off restarting failed container={container['name']}"
            return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        case _:
            running = before.get("state", {}).get("running")
            return {"running": running or {"startedAt": now}}


def _last_state(before: Object, state: State, restart_count: int, last_words: str, now: str) -> Object:
    old: Object = before.get("lastState", {})
    if state is not State.CRASH or (old and before.get("restartCount") == restart_count):
        return old
    return {
        "terminated": {
            "exitCode": 1,
            "reason": "Error",
            "message": last_words,
            "startedAt": now,
            "finishedAt": now,
        }
    }
