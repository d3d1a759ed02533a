"""The status: what runs, which nodes are Ready and why the others are not."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from cilium_hybrid.api.conditions import Condition

MAX_UNREADY: Final = 10
MAX_HISTORY: Final = 10
MAX_FINDINGS: Final = 10
MAX_PLAN: Final = 12
MAX_DRIFT: Final = 10


class Phase(StrEnum):
    """One word for people; programs read the conditions."""

    INSTALLING = "Installing"
    PREFLIGHT = "Preflight"
    UPGRADING = "Upgrading"
    ROLLING_BACK = "RollingBack"
    READY = "Ready"
    DEGRADED = "Degraded"
    BLOCKED = "Blocked"
    SUSPENDED = "Suspended"
    DELETING = "Deleting"


class UnreadyReason(StrEnum):
    """What a hybrid node fails, by root cause: the first that holds."""

    NODE_DISCONNECTED = "NodeDisconnected"
    AGENT_NOT_READY = "AgentNotReady"
    NO_POD_CIDR = "NoPodCIDR"
    NODE_NOT_READY = "NodeNotReady"
    VERSION = "Version"
    AGENT_TAINT_PRESENT = "AgentTaintPresent"


class PreflightResult(StrEnum):
    """Where the preflight of a version is."""

    RUNNING = "Running"
    PASSED = "Passed"
    FAILED = "Failed"


class PlanPhase(StrEnum):
    """Where a step of the plan is."""

    PENDING = "Pending"
    PREFLIGHT = "Preflight"
    APPLY = "Apply"
    ROLLOUT = "Rollout"
    DONE = "Done"


class HistoryAction(StrEnum):
    """What a Helm revision of the operator was made for."""

    INSTALL = "Install"
    CONFIGURE = "Configure"
    UPGRADE = "Upgrade"
    ROLLBACK = "Rollback"


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, use_attribute_docstrings=True
    )


class Version(_Model):
    """Versions of Cilium in this cluster."""

    running: str | None = None
    """Chart version of the release that the agents run."""
    target: str | None = None
    """Chart version that the spec asks for."""
    initial: str | None = None
    """Minor release first installed in this cluster, X.Y: Cilium's upgradeCompatibility."""
    latest_patch: str | None = None
    """Newest chart version of the running minor release that the registry has; looked up a few times a day."""


class Release(_Model):
    """The newest revision of Helm release `cilium` that the operator made."""

    revision: int
    """Number of the revision."""
    status: str
    """Helm's word for it."""
    chart: str
    """Where its chart came from."""
    chart_digest: str
    """Digest of its chart."""
    values_digest: str
    """Digest of its values."""


class UnreadyNode(_Model):
    """A hybrid node that fails a leg."""

    name: str
    """Name of the node."""
    reason: UnreadyReason
    """The root cause."""
    message: str
    """The cause in words."""
    since: datetime
    """When the operator first saw it fail this leg."""


class Nodes(_Model):
    """Hybrid nodes, counted."""

    total: int = 0
    """All hybrid nodes."""
    ready: int = 0
    """Those that pass every leg."""
    agents_ready: int = 0
    """Those with a Ready agent."""
    up_to_date: int = 0
    """Those whose agent runs what is released."""
    disconnected: int = 0
    """Those that do not report."""
    unready_reasons: dict[str, int] = {}
    """How many fail each leg; those that none fails are left out."""
    summary: str = "0/0"
    """ready/total."""
    unready: tuple[UnreadyNode, ...] = Field((), max_length=MAX_UNREADY)
    """Those that fail a leg, at most ten, root causes first."""


class PlanStep(_Model):
    """A version on the way to what the spec asks for."""

    version: str
    """Chart version that is released in this step."""
    phase: PlanPhase
    """Where it is."""
    notes: tuple[str, ...] = ()
    """What to know before it, where it enters another minor release."""


class PreflightStatus(_Model):
    """The pre-flight check of the next version; of the present generation alone."""

    version: str
    """Chart version that is checked."""
    result: PreflightResult
    """How far it is."""
    ready: int = 0
    """Those of the expected nodes that have a Ready preflight pod."""
    expected: int = 0
    """Connected nodes with a Ready agent."""
    findings: tuple[str, ...] = Field((), max_length=MAX_FINDINGS + 1)
    """What is in the way, a sentence each, at most ten and how many more."""


class RolloutStatus(_Model):
    """Agents that are being moved to what is released; absent where none is."""

    updated: int
    """Connected nodes whose agent runs what is released, and is Ready."""
    total: int
    """Connected hybrid nodes."""
    outdated: int
    """Connected nodes whose agent was not moved yet."""
    current: tuple[str, ...] = Field((), max_length=MAX_UNREADY)
    """Nodes whose new agent is not Ready yet, at most ten."""
    unhealthy_before: tuple[str, ...] = ()
    """Nodes whose agent was not Ready when the rollout came to them: they are moved, and prove nothing."""
    last_progress_at: datetime
    """When an agent was last moved, got Ready, or was Ready no longer."""


class NodeBlocks(_Model):
    """Blocks of pod addresses, of which every node has one."""

    total: int = 0
    """All that the pools that run can be cut into."""
    used: int = 0
    """Those that a CiliumNode has."""
    free: int = 0
    """Those that are left: as many nodes can still join."""


class Ipam(_Model):
    """The addresses of pods, as Cilium's operator gives them out."""

    node_blocks: NodeBlocks = NodeBlocks()
    """Blocks of pod addresses, counted over all pools."""
    pods_per_node: int = 0
    """Pods with an address of their own that fit on a node, by the size of its block."""
    exhausted: tuple[str, ...] = ()
    """Pools with nothing left."""


class Drift(_Model):
    """Objects of the release that are not as they were released: somebody changed them, or took them away."""

    count: int = 0
    """How many."""
    sample: tuple[str, ...] = Field((), max_length=MAX_DRIFT)
    """Which, at most ten, with the fields that differ and who wrote them."""


class HistoryEntry(_Model):
    """One Helm revision that the operator made."""

    at: datetime
    """When."""
    action: HistoryAction
    """What for."""
    from_version: str | None = Field(None, alias="from")
    """Chart version before."""
    to_version: str = Field(alias="to")
    """Chart version after."""
    revision: int
    """Number of the Helm revision."""
    result: Literal["Succeeded", "Failed"]
    """Whether Helm applied it."""


class Status(_Model):
    """What runs. Written by the operator alone."""

    observed_generation: int | None = None
    """The generation of the spec that this status speaks of."""
    phase: Phase | None = None
    """One word for people."""
    version: Version = Version()
    """Versions of Cilium in this cluster."""
    release: Release | None = None
    """The newest revision of Helm release `cilium` that the operator made."""
    plan: tuple[PlanStep, ...] = Field((), max_length=MAX_PLAN)
    """The versions on the way to what the spec asks for, in order; empty where this generation changed nothing."""
    plan_digest: str | None = None
    """Digest of the plan, which an approval names."""
    preflight: PreflightStatus | None = None
    """The pre-flight check of the next version; absent where none was made in this generation."""
    nodes: Nodes = Nodes()
    """Hybrid nodes, counted."""
    rollout: RolloutStatus | None = None
    """Agents that are being moved to what is released; absent where none is."""
    ipam: Ipam | None = None
    """The addresses of pods; absent where no pool is known to run."""
    drift: Drift | None = None
    """What is not as it was released, as last compared; absent where that is not known."""
    findings: tuple[str, ...] = Field((), max_length=MAX_FINDINGS)
    """What is out of order and blocks nothing, a sentence each with what to do."""
    history: tuple[HistoryEntry, ...] = Field((), max_length=MAX_HISTORY)
    """The last ten Helm revisions that the operator made."""
    conditions: tuple[Condition, ...] = Field(
        (),
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
    """Conditions after kstatus: Ready always, Reconciling and Stalled only while true."""


def parse_status(raw: Mapping[str, Any]) -> Status | None:
    """Read a status; None if an operator of another version wrote it in a form that this one does not know."""
    try:
        return Status.model_validate(raw)
    except ValidationError:
        return None
