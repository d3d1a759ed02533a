"""Prometheus metrics, all with the prefix cilium_hybrid_. No label holds a name that a user chose."""

import logging
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cilium_hybrid.adapters.kube.watch_state import WatchState
from cilium_hybrid.api.status import Ipam, Nodes, Phase, RolloutStatus, Status, UnreadyReason
from cilium_hybrid.plan.observation import Certificate

log = logging.getLogger(__name__)

STATUS_SECONDS: Final = 60.0
"""How long the status may be out of date before that is logged and the replica is not ready."""
_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)
"""Upper bounds in seconds: from a reconciliation that changes nothing to a Helm upgrade."""


class PrometheusTelemetry:
    """The Telemetry port on a prometheus_client registry; the default registry adds the process metrics."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._leader = Gauge(
            "cilium_hybrid_leader",
            "Whether this replica holds the leader election Lease (1) or is on standby (0).",
            registry=registry,
        )
        self._reconciliations = Histogram(
            "cilium_hybrid_reconcile_duration_seconds",
            "Duration of reconciliations, including failed ones.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "cilium_hybrid_errors",
            "Reconciliations that failed because of an error in the operator itself.",
            registry=registry,
        )
        self._helm = Histogram(
            "cilium_hybrid_helm_duration_seconds",
            "Duration of Helm commands by command and result.",
            ["command", "result"],
            buckets=_BUCKETS,
            registry=registry,
        )
        build = Gauge(
            "cilium_hybrid_build_info",
            "Version of the operator and of its Python; the value is always 1.",
            ["version", "python_version"],
            registry=registry,
        )
        build.labels(version("cilium-hybrid-operator"), platform.python_version()).set(1)
        self.reconcile_started_at: float | None = None
        """Monotonic time at which the current reconciliation started; None between reconciliations."""
        self._status_error, self._status_written_at, self._status_logged_at = "", 0.0, 0.0
        self._status, self._watches = _StatusCollector(), _WatchCollector()
        registry.register(self._status)
        registry.register(self._watches)

    def set_leader(self, leader: bool) -> None:
        """Record whether this replica is the leader."""
        self._leader.set(leader)

    def reconcile_started(self) -> None:
        """Record that a reconciliation started."""
        self.reconcile_started_at = time.monotonic()

    def reconcile_finished(self, seconds: float) -> None:
        """Record that a reconciliation ended, whether it succeeded or failed, and how long it took."""
        self.reconcile_started_at = None
        self._reconciliations.observe(seconds)

    def reconcile_failed(self) -> None:
        """Count a reconciliation that failed because of an error in the operator."""
        self._errors.inc()

    def helm_finished(self, command: str, seconds: float, succeeded: bool) -> None:
        """Record a Helm command, its duration and its result."""
        self._helm.labels(command, "succeeded" if succeeded else "failed").observe(seconds)

    def record_status(self, status: Status | None, certificates: Sequence[Certificate] = ()) -> None:
        """Replace the reported status and certificates; None if the resource does not exist."""
        self._status.status, self._status.certificates = status, certificates

    def status_written(self, error: str | None) -> None:
        """Record that the status in the cluster is up to date, or why it cannot be brought up to date."""
        now = time.monotonic()
        if error is None or not self._status_error:
            self._status_written_at = self._status_logged_at = now
        self._status_error = error or ""
        if error is not None and now - self._status_logged_at >= STATUS_SECONDS:
            self._status_logged_at = now
            log.error("the status has been out of date for %.0f s: %s", now - self._status_written_at, error)

    @property
    def status_problem(self) -> str:
        """Why the status in the cluster has been out of date for STATUS_SECONDS; empty if it has not."""
        seconds = time.monotonic() - self._status_written_at
        if not self._status_error or seconds < STATUS_SECONDS:
            return ""
        return f"the status has been out of date for {seconds:.0f} s: {self._status_error}"

    @property
    def watches(self) -> Sequence[WatchState]:
        """The watches of this process, lost or not; none on a standby replica."""
        return self._watches.states

    @watches.setter
    def watches(self, states: Sequence[WatchState]) -> None:
        self._watches.states = states


class _WatchCollector(Collector):
    """Reports at each scrape which watches are lost."""

    def __init__(self) -> None:
        self.states: Sequence[WatchState] = ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric of the watches."""
        if self.states:
            yield _gauge_by(
                "cilium_hybrid_watch_lost",
                "Whether a watch is lost (1): refused, cut or silent, and not re-established since.",
                "watch",
                {state.name: state.loss is not None for state in self.states},
            )


class _StatusCollector(Collector):
    """Reports the latest status at each scrape.

    Series of values that no longer apply disappear, and a standby replica, which has no status, reports none.
    """

    def __init__(self) -> None:
        self.status: Status | None = None
        self.certificates: Sequence[Certificate] = ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics of the latest status."""
        status = self.status
        if status is None:
            return
        yield _conditions(status)
        suspended = status.phase is Phase.SUSPENDED
        yield _gauge("cilium_hybrid_suspended", "Whether spec.suspend is set (1) or not (0).", suspended)
        yield _cilium_info(status)
        yield from _node_counts(status.nodes)
        if status.rollout is not None:
            yield _rollout(status.rollout)
        if status.ipam is not None:
            yield _node_blocks(status.ipam)
        if status.drift is not None:
            yield _gauge(
                "cilium_hybrid_drift_objects",
                "Objects of the Cilium release that differ from their released manifest.",
                status.drift.count,
            )
        yield _gauge_by(
            "cilium_hybrid_certificate_expiry_timestamp_seconds",
            "Expiry time, in seconds since the Unix epoch, of each certificate in a Secret of the Cilium chart.",
            "secret",
            {certificate.secret: certificate.not_after.timestamp() for certificate in self.certificates},
        )


def exposition(registry: CollectorRegistry = REGISTRY) -> bytes:
    """Return all metrics in the Prometheus text format."""
    return generate_latest(registry)


def _conditions(status: Status) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "cilium_hybrid_condition",
        "Conditions of the CiliumHybrid: 1 if True, 0 if False or Unknown. Reconciling and Stalled only while True.",
        labels=["type", "reason"],
    )
    for condition in status.conditions:
        family.add_metric([condition.type, condition.reason], condition.status == "True")
    return family


def _cilium_info(status: Status) -> GaugeMetricFamily:
    versions = status.version
    family = GaugeMetricFamily(
        "cilium_hybrid_cilium_info",
        "Cilium versions: running and target chart version, and the minor version first installed. Always 1.",
        labels=["running", "target", "initial"],
    )
    family.add_metric([versions.running or "", versions.target or "", versions.initial or ""], 1)
    return family


def _node_counts(nodes: Nodes) -> Iterator[GaugeMetricFamily]:
    yield _gauge("cilium_hybrid_nodes", "Hybrid nodes.", nodes.total)
    yield _gauge("cilium_hybrid_nodes_ready", "Hybrid nodes that are ready.", nodes.ready)
    yield _gauge("cilium_hybrid_nodes_agent_ready", "Hybrid nodes with a Ready Cilium agent.", nodes.agents_ready)
    yield _gauge(
        "cilium_hybrid_nodes_up_to_date",
        "Hybrid nodes whose Cilium agent runs the deployed version and configuration.",
        nodes.up_to_date,
    )
    yield _gauge_by(
        "cilium_hybrid_nodes_unready",
        "Hybrid nodes that are not ready, by root cause.",
        "reason",
        {reason: nodes.unready_reasons.get(reason, 0) for reason in UnreadyReason},
    )


def _rollout(rollout: RolloutStatus) -> GaugeMetricFamily:
    return _gauge_by(
        "cilium_hybrid_rollout_nodes",
        "Connected hybrid nodes during a rollout, by the state of their Cilium agent.",
        "state",
        {
            "updated": rollout.updated,
            "restarting": rollout.total - rollout.updated - rollout.outdated,
            "outdated": rollout.outdated,
        },
    )


def _node_blocks(ipam: Ipam) -> GaugeMetricFamily:
    return _gauge_by(
        "cilium_hybrid_node_blocks",
        "Pod CIDR blocks in all pools; each node uses one.",
        "state",
        {"used": ipam.node_blocks.used, "free": ipam.node_blocks.free},
    )


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)


def _gauge_by(name: str, documentation: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family
