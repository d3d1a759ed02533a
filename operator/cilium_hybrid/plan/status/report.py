"""What a status is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cilium_hybrid.api.status import PlanStep, PreflightStatus, RolloutStatus, Status
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Decision
from cilium_hybrid.plan.observation import Difference, Observation
from cilium_hybrid.plan.status.drift import drift_findings
from cilium_hybrid.plan.status.findings import findings
from cilium_hybrid.plan.status.ipam import IpamUsage
from cilium_hybrid.plan.status.nodes import NodeReadiness
from cilium_hybrid.rules.rule import Violation


@dataclass(frozen=True, slots=True)
class Report:
    """All that a status is made of."""

    previous: Status
    generation: int
    target: str | None
    chart_ref: str
    observation: Observation
    decision: Decision
    nodes: NodeReadiness
    now: datetime
    in_sync: bool = False
    warnings: tuple[Violation, ...] = ()
    rollout: RolloutStatus | None = None
    plan: tuple[PlanStep, ...] = ()
    plan_digest: str = ""
    preflight: PreflightStatus | None = None
    chart_versions: Sequence[CiliumVersion] | None = None
    ipam: IpamUsage | None = None
    certificates: tuple[str, ...] = ()
    differences: Sequence[Difference] | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """What is out of order and blocks nothing."""
        return findings(self.observation, self.ipam, self.certificates, drift_findings(self.differences))
