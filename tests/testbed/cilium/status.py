"""The status that a kubelet reports for a pod of Cilium in each state."""

from datetime import UTC, datetime
from enum import Enum
from typing import Any

from testbed.nodes import AGENT_FAULT, internal_address

Object = dict[str, Any]

# Other goroutines still write after the fatal line.
CRASH_MESSAGE = """\
level=info msg="Starting hive" subsys=hive
level=fatal msg="failed to start: the agent was told to crash" subsys=daemon
level=info msg="Stopped watching" subsys=watcher"""


class State(Enum):
    """The state of a pod's containers."""

    STARTING = "starting"
    READY = "ready"
    NEVER_READY = "never-ready"
    CRASH = "crash"
    PULL = "pull"


def fault(node: Object, pod: Object) -> State | None:
    """Return the fault that was injected on the node or is built into the image, None without a fault."""
    injected = node["metadata"].get("annotations", {}).get(AGENT_FAULT)
    if injected is not None:
        return State(injected)
    return State.CRASH if broken(pod) else None


def broken(pod: Object) -> bool:
    """Whether an image of the pod is broken by its name."""
    return any("broken" in container["image"].rpartition("/")[2] for container in pod["spec"]["containers"])


def restarts(pod: Object) -> int:
    """Return how often the pod's first container was restarted."""
    containers = pod.get("status", {}).get("containerStatuses") or [{}]
    count: int = containers[0].get("restartCount", 0)
    return count


def contains(actual: Any, expected: Any) -> bool:
    """Whether the actual status contains the expected one; the API server adds empty fields."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(contains(actual.get(key), part) for key, part in expected.items())
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(contains(item, part) for item, part in zip(actual, expected, strict=True))
        )
    return bool(actual == expected)


def status(
    pod: Object, node: Object, state: State, restart_count: int, *, termination_message: str = CRASH_MESSAGE
) -> Object:
    """Return the pod's status; unchanged parts keep their times. `termination_message` is reported after a crash."""
    old = pod.get("status", {})
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = state is State.READY
    reason = {} if ready else {"reason": "ContainersNotReady"}
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Initialized", "status": "True"}
        if state is not State.PULL
        else {"type": "Initialized", "status": "False"},
        {"type": "ContainersReady", "status": str(ready), **reason},
        {"type": "Ready", "status": str(ready), **reason},
    ]
    address = internal_address(node)
    return {
        "phase": "Pending" if state is State.PULL else "Running",
        "startTime": old.get("startTime", now),
        "hostIP": address,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [_with_transition_time(condition, old.get("conditions", ()), now) for condition in conditions],
        "containerStatuses": [
            _container(container, old, state, restart_count, termination_message, now)
            for container in pod["spec"]["containers"]
        ],
    }


def _with_transition_time(condition: Object, old: Any, now: str) -> Object:
    """Return the condition with its transition time, which stays the same if the status did not change."""
    kind, status = condition["type"], condition["status"]
    before: Object = next((known for known in old if (known["type"], known["status"]) == (kind, status)), {})
    return condition | {"lastTransitionTime": before.get("lastTransitionTime", now)}


def _container(
    container: Object, old: Object, state: State, restart_count: int, termination_message: str, now: str
) -> Object:
    statuses = old.get("containerStatuses", ())
    before: Object = next((known for known in statuses if known["name"] == container["name"]), {})
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": state is State.READY,
        "started": state in (State.READY, State.NEVER_READY),
        "restartCount": restart_count,
        "state": _state(container, before, state, now),
        "lastState": _last_state(before, state, restart_count, termination_message, now),
    }


def _state(container: Object, before: Object, state: State, now: str) -> Object:
    match state:
        case State.PULL:
            # Kubelets since 1.32 repeat the error of the last attempt.
            image = container["image"]
            cause = f'failed to resolve reference "{image}": {image}: not found'
            error = f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": {cause}'
            message = f'Back-off pulling image "{image}": ErrImagePull: {error}'
            return {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        case State.CRASH:
            message = f"back-off restarting failed container={container['name']}"
            return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        case _:
            running = before.get("state", {}).get("running")
            return {"running": running or {"startedAt": now}}


def _last_state(before: Object, state: State, restart_count: int, termination_message: str, now: str) -> Object:
    old: Object = before.get("lastState", {})
    if state is not State.CRASH or (old and before.get("restartCount") == restart_count):
        return old
    return {
        "terminated": {
            "exitCode": 1,
            "reason": "Error",
            "message": termination_message,
            "startedAt": now,
            "finishedAt": now,
        }
    }
