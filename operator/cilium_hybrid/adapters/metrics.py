"""Metrics for Prometheus: all begin with cilium_hybrid_, and none holds a name that a user chose."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cilium_hybrid.api.status import Status, UnreadyReason
from cilium_hybrid.plan.observation import Certificate

_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)


class PrometheusTelemetry:
    """The Telemetry port over prometheus-client's own registry, which adds the process's memory and time."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._leader = Gauge(
            "cilium_hybrid_leader", "1 where this process holds the Lease and acts.", registry=registry
        )
        self._passes = Histogram(
            "cilium_hybrid_pass_seconds", "Passes and how long they took.", buckets=_SECONDS, registry=registry
        )
        self._faults = Counter(
            "cilium_hybrid_pass_faults", "Passes that failed by a fault of the operator itself.", registry=registry
        )
        self._helm = Histogram(
            "cilium_hybrid_helm_seconds",
            "Calls of Helm and how long they took.",
            ["command", "result"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.pass_since: float | None = None
        """When the pass that is under way began, by the monotonic clock."""
        self._status = _LastStatus()
        registry.register(self._status)

    def leading(self, leads: bool) -> None:
        """Whether this process acts."""
        self._leader.set(leads)

    def began(self) -> None:
        """A pass begins."""
        self.pass_since = time.monotonic()

    def passed(self, seconds: float) -> None:
        """A pass ended."""
        self.pass_since = None
        self._passes.observe(seconds)

    def fault(self) -> None:
        """A pass failed by a fault of the operator itself."""
        self._faults.inc()

    def called_helm(self, command: str, seconds: float, succeeded: bool) -> None:
        """Helm ran."""
        self._helm.labels(command, "succeeded" if succeeded else "failed").observe(seconds)

    def saw(self, status: Status | None, certificates: Sequence[Certificate] = ()) -> None:
        """A status was made, and these certificates were seen; None where the resource is gone."""
        self._status.status, self._status.certificates = status, certificates


class _LastStatus(Collector):
    """The last status, read when Prometheus asks: no series outlives what it tells, and who stands by tells nothing."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self.certificates: Sequence[Certificate] = ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What the status says, in numbers."""
        status = self.status
        if status is None:
            return
        conditions = GaugeMetricFamily(
            "cilium_hybrid_condition",
            "Conditions of the resource: 1 where True, 0 where not; Reconciling and Stalled only while True.",
            labels=["type", "reason"],
        )
        for one in status.conditions:
            conditions.add_metric([one.type, one.reason], one.status == "True")
        yield conditions
        nodes = status.nodes
        yield _counts(
            "cilium_hybrid_nodes",
            "Hybrid nodes.",
            "state",
            {
                "total": nodes.total,
                "ready": nodes.ready,
                "agents_ready": nodes.agents_ready,
                "up_to_date": nodes.up_to_date,
                "disconnected": nodes.disconnected,
            },
        )
        yield _counts(
            "cilium_hybrid_nodes_failing",
            "Hybrid nodes by the leg that they fail.",
            "reason",
            {reason: nodes.unready_reasons.get(reason, 0) for reason in UnreadyReason},
        )
        if (rollout := status.rollout) is not None:
            yield _counts(
                "cilium_hybrid_rollout_nodes",
                "Connected hybrid nodes of the rollout that is under way.",
                "state",
                {"total": rollout.total, "updated": rollout.updated, "left": rollout.outdated},
            )
        if (ipam := status.ipam) is not None:
            blocks = ipam.node_blocks
            yield _counts(
                "cilium_hybrid_node_blocks",
                "Blocks of pod addresses, of which every node has one.",
                "state",
                {"total": blocks.total, "used": blocks.used, "free": blocks.free},
            )
        if (drift := status.drift) is not None:
            yield GaugeMetricFamily(
                "cilium_hybrid_drift_objects",
                "Objects of the release that are not as they were released.",
                value=drift.count,
            )
        yield _counts(
            "cilium_hybrid_certificate_expiry_timestamp_seconds",
            "When the certificates in Secrets of Cilium's chart end, in seconds since 1970.",
            "secret",
            {one.secret: one.ends.timestamp() for one in self.certificates},
        )


def exposition(registry: CollectorRegistry = REGISTRY) -> bytes:
    """What Prometheus scrapes."""
    return generate_latest(registry)


def _counts(name: str, meaning: str, label: str, counts: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
