"""Metrics for Prometheus: all begin with cilium_hybrid_, and none holds a name that a user chose."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from cilium_hybrid.api.conditions import ConditionType
from cilium_hybrid.api.status import Status

_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)


class PrometheusTelemetry:
    """The Telemetry port over prometheus-client's own registry, which adds the process's memory and time."""

    def __init__(self) -> None:
        self._leader = Gauge("cilium_hybrid_leader", "1 where this process holds the Lease and acts.")
        self._passes = Histogram("cilium_hybrid_pass_seconds", "Passes and how long they took.", buckets=_SECONDS)
        self._faults = Counter("cilium_hybrid_pass_faults", "Passes that failed by a fault of the operator itself.")
        self._helm = Histogram(
            "cilium_hybrid_helm_seconds",
            "Calls of Helm and how long they took.",
            ["command", "result"],
            buckets=_SECONDS,
        )
        self._ready = Gauge("cilium_hybrid_ready", "1 where the resource is Ready.")
        self._nodes = Gauge("cilium_hybrid_nodes", "Hybrid nodes.", ["state"])

    def leading(self, leads: bool) -> None:
        """Whether this process acts."""
        self._leader.set(leads)

    def passed(self, seconds: float) -> None:
        """A pass ended."""
        self._passes.observe(seconds)

    def fault(self) -> None:
        """A pass failed by a fault of the operator itself."""
        self._faults.inc()

    def called_helm(self, command: str, seconds: float, succeeded: bool) -> None:
        """Helm ran."""
        self._helm.labels(command, "succeeded" if succeeded else "failed").observe(seconds)

    def saw(self, status: Status) -> None:
        """A status was made."""
        self._ready.set(any(one.type is ConditionType.READY and one.status == "True" for one in status.conditions))
        counts = {"total": status.nodes.total, "ready": status.nodes.ready, "disconnected": status.nodes.disconnected}
        for state, count in counts.items():
            self._nodes.labels(state).set(count)


def exposition() -> bytes:
    """What Prometheus scrapes."""
    return generate_latest()
