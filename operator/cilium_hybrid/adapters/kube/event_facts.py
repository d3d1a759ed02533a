"""Facts of Events: pods that the DaemonSet controller or the container runtime of a node cannot create.

Events expire after an hour, and are dropped if one component sends too many.
"""

import re
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.facts import parse_time
from cilium_hybrid.adapters.kube.pod_failure import shorten
from cilium_hybrid.plan.observation import SandboxFailure

Raw = Mapping[str, Any]

FAILED_CREATE: Final = "FailedCreate"
FAILED_SANDBOX: Final = "FailedCreatePodSandBox"

_COMBINED: Final = "(combined from similar events): "
# Each attempt has another name.
_POD_NAME: Final = re.compile(r'(?<=pods ")cilium-[a-z0-9]{5}(?=")')
_SANDBOX_ID: Final = re.compile(r"\b[0-9a-f]{64}\b")
_PLUGIN: Final = re.compile(r"plugin type=.*", re.DOTALL)
_NETWORK: Final = re.compile(r"set ?up (?:pod )?network|network sandbox|plugin type=", re.IGNORECASE)
_NO_ADDRESS: Final = re.compile(
    r"range is full|no more ips|no (?:free|available) (?:ip|address)|no ip addresses|no ips? available|pool exhausted",
    re.IGNORECASE,
)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CreateFailure:
    """The DaemonSet controller could not create agent pods, for the last time at `at`."""

    at: datetime
    message: str


@dataclass(frozen=True, slots=True)
class SandboxEvent:
    """The container runtime of a node could not set up the network of a pod `count` times, the last time at `at`."""

    node: str
    count: int
    at: datetime
    message: str
    no_address: bool


def create_failure(raw: Raw) -> CreateFailure:
    """Return the fact of an Event of reason FailedCreate."""
    return CreateFailure(_last_time(raw), shorten(_POD_NAME.sub("cilium-…", _message(raw))))


def newest_create_failure(failures: Iterable[CreateFailure], created: Iterable[datetime | None]) -> str:
    """Return why agent pods cannot be created; empty if one was `created` after the newest failure."""
    newest = max(failures, key=lambda failure: failure.at, default=None)
    if newest is None or any(at is not None and at > newest.at for at in created):
        return ""
    return newest.message


def sandbox_event(raw: Raw) -> SandboxEvent | None:
    """Return the fact of an Event of reason FailedCreatePodSandBox; None if another step than the network failed."""
    message = _message(raw)
    if _NETWORK.search(message) is None:
        return None
    node = str((raw.get("source") or {}).get("host") or raw.get("reportingInstance") or "")
    plugin = _PLUGIN.search(message)
    # Thousands of Events have the same message.
    text = sys.intern(shorten(_SANDBOX_ID.sub("…", message if plugin is None else plugin[0])))
    return SandboxEvent(sys.intern(node), _count(raw), _last_time(raw), text, _NO_ADDRESS.search(message) is not None)


def sandbox_failures(events: Iterable[SandboxEvent], nodes: Container[str]) -> dict[str, SandboxFailure]:
    """Return the sandbox failures of these nodes by node; a lack of addresses only if nothing else fails there."""
    by_node: dict[str, list[SandboxEvent]] = {}
    for event in events:
        if event.node in nodes:
            by_node.setdefault(event.node, []).append(event)
    return {node: _sandbox_failure(found) for node, found in by_node.items()}


def _sandbox_failure(events: list[SandboxEvent]) -> SandboxFailure:
    others = [event for event in events if not event.no_address]
    counted = others or events
    newest = max(counted, key=lambda event: (event.at, event.message))
    return SandboxFailure(sum(event.count for event in counted), newest.message, no_address=not others)


def _message(raw: Raw) -> str:
    return str(raw.get("message") or raw.get("note") or "").removeprefix(_COMBINED)


def _count(raw: Raw) -> int:
    return int((raw.get("series") or {}).get("count") or raw.get("count") or 1)


def _last_time(raw: Raw) -> datetime:
    series = (raw.get("series") or {}).get("lastObservedTime")
    times = (series, raw.get("lastTimestamp"), raw.get("eventTime"), raw["metadata"].get("creationTimestamp"))
    return next((parse_time(time) for time in times if time), _NEVER)
