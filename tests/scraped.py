"""The metrics of the operator, as Prometheus scrapes them."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from builders import NOW, a_certificate, a_condition, a_status
from cilium_hybrid.adapters.kube.watch_state import WatchState
from cilium_hybrid.adapters.metrics import PrometheusTelemetry, exposition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import (
    Drift,
    Ipam,
    NodeBlocks,
    Nodes,
    Phase,
    RolloutStatus,
    Status,
    UnreadyNode,
    UnreadyReason,
    Version,
)
from cilium_hybrid.plan.status.certificates import CERTIFICATES

A_STATUS: Final = a_status(
    a_condition(ConditionType.READY, "False", Reason.ROLLING_OUT),
    a_condition(ConditionType.RECONCILING, "True", Reason.ROLLING_OUT),
    phase=Phase.UPGRADING,
    version=Version(running="1.17.13-1", target="1.18.8-1", initial="1.17"),
    nodes=Nodes(
        total=5,
        ready=3,
        agents_ready=4,
        up_to_date=2,
        disconnected=1,
        unready_reasons={UnreadyReason.AGENT_NOT_READY: 1, UnreadyReason.NODE_DISCONNECTED: 1},
        unready=(
            UnreadyNode(name="mi-1", reason=UnreadyReason.AGENT_NOT_READY, message="", since=NOW),
            UnreadyNode(name="mi-2", reason=UnreadyReason.NODE_DISCONNECTED, message="", since=NOW),
        ),
    ),
    rollout=RolloutStatus(updated=2, total=4, outdated=1, last_progress_at=NOW),
    drift=Drift(count=2, sample=("x", "y")),
    ipam=Ipam(node_blocks=NodeBlocks(total=512, used=5, free=507), pods_per_node=124),
)
"""A status with a value for every metric."""

CERTIFICATES_EXPIRING: Final = [a_certificate(secret) for secret in CERTIFICATES]


class Scraped:
    """The telemetry of one operator process, and what a scrape of it returns."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.telemetry = PrometheusTelemetry(self._registry)

    @classmethod
    def of(cls, status: Status) -> "Scraped":
        """Return the telemetry of an operator with this status."""
        scraped = cls()
        scraped.telemetry.record_status(status, CERTIFICATES_EXPIRING)
        return scraped

    @property
    def text(self) -> str:
        """The body of a scrape."""
        return exposition(self._registry).decode()

    def samples(self) -> list[tuple[str, Mapping[str, str], float]]:
        """Return every series: its name, its labels and its value."""
        families = text_string_to_metric_families(self.text)
        return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]

    def values(self, name: str, label: str) -> dict[str, float]:
        """Return the values of a metric by one of its labels."""
        return {labels[label]: value for sample, labels, value in self.samples() if sample == name}

    def value(self, name: str) -> float:
        """Return the value of a metric that has exactly one series."""
        (value,) = (value for sample, _, value in self.samples() if sample == name)
        return value

    def labels(self, name: str) -> list[Mapping[str, str]]:
        """Return the labels of each series of a metric."""
        return [labels for sample, labels, _ in self.samples() if sample == name]


def everything() -> Scraped:
    """Return the telemetry of a leader that did everything once."""
    scraped = Scraped.of(A_STATUS)
    scraped.telemetry.set_leader(leader=True)
    scraped.telemetry.watches = [WatchState("nodes"), WatchState("daemonsets/cilium")]
    scraped.telemetry.reconcile_finished(0.1)
    scraped.telemetry.reconcile_failed()
    for succeeded in (True, False):
        scraped.telemetry.helm_finished("upgrade", 3.0, succeeded)
    return scraped
