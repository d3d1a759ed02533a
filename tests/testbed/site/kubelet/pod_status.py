"""The status that a kubelet reports for a pod."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from testbed.site.kubelet.container import Container

Object = dict[str, Any]


def pod_status(
    pod: Object, host: str, address: str, init: Sequence[Container], containers: Sequence[Container]
) -> Object:
    """Return the status of a pod; conditions that stay the same keep their times."""
    old = pod.get("status", {})
    initialized = all(container.state.ready for container in init)
    ready = initialized and all(container.state.ready for container in containers)
    # Without the null, a strategic merge would keep the reason.
    unready = {"reason": None if ready else "ContainersNotReady"}
    conditions: list[Object] = [
        {"type": "PodReadyToStartContainers", "status": str(bool(address))},
        {
            "type": "Initialized",
            "status": str(initialized),
            "reason": None if initialized else "ContainersNotInitialized",
        },
        {"type": "ContainersReady", "status": str(ready)} | unready,
        {"type": "Ready", "status": str(ready)} | unready,
    ]
    created = initialized and all("waiting" not in c.state.state or c.state.last for c in containers)
    status: Object = {
        "phase": "Running" if created else "Pending",
        "startTime": old.get("startTime", _now()),
        "hostIP": host,
        "conditions": [_timed(condition, old.get("conditions", ())) for condition in conditions],
        "initContainerStatuses": [_container(container) for container in init],
        "containerStatuses": [_container(container) for container in containers],
    }
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    return status


def _timed(condition: Object, old: Sequence[Object]) -> Object:
    kind, status = condition["type"], condition["status"]
    before: Object = next((known for known in old if (known["type"], known["status"]) == (kind, status)), {})
    return condition | {"lastTransitionTime": before.get("lastTransitionTime") or _now()}


def _container(container: Container) -> Object:
    state = container.state
    return {
        "name": container.spec["name"],
        "image": container.spec["image"],
        "imageID": container.spec["image"],
        "ready": state.ready,
        "started": state.started,
        "restartCount": state.restarts,
        "state": state.state,
        # The state of an exit is `state` until the next start.
        "lastState": {} if state.state == state.last else state.last,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
