"""What Prometheus reads of the operator."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from builders import NOW, a_certificate, a_condition, a_status
from cilium_hybrid.adapters.metrics import PrometheusTelemetry, exposition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Drift, Ipam, NodeBlocks, Nodes, RolloutStatus, Status, UnreadyNode, UnreadyReason
from cilium_hybrid.plan.status.certificates import CERTIFICATES

A_STATUS: Final = a_status(
    a_condition(ConditionType.READY, "False", Reason.ROLLING_OUT),
    a_condition(ConditionType.RECONCILING, "True", Reason.ROLLING_OUT),
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
"""A status that has a value for every metric."""


A_CERTIFICATES: Final = [a_certificate(secret) for secret in CERTIFICATES]


class Scraped:
    """An operator's telemetry, and a look at it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.telemetry = PrometheusTelemetry(self._registry)

    @classmethod
    def of(cls, status: Status) -> "Scraped":
        """An operator that made this status."""
        scraped = cls()
        scraped.telemetry.saw(status, A_CERTIFICATES)
        return scraped

    @property
    def text(self) -> str:
        """The answer to a scrape."""
        return exposition(self._registry).decode()

    def samples(self) -> list[tuple[str, Mapping[str, str], float]]:
        """Each series with its labels and its value."""
        families = text_string_to_metric_families(self.text)
        return [(one.name, one.labels, one.value) for family in families for one in family.samples]

    def values(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric by one of its labels."""
        return {labels[label]: value for told, labels, value in self.samples() if told == name}


def everything() -> Scraped:
    """An operator that did everything once."""
    scraped = Scraped.of(A_STATUS)
    scraped.telemetry.leading(leads=True)
    scraped.telemetry.passed(0.1)
    scraped.telemetry.fault()
    for succeeded in (True, False):
        scraped.telemetry.called_helm("upgrade", 3.0, succeeded)
    return scraped
