"""The status of a CiliumHybrid: what runs, how many nodes are ready, and why the others are not."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from cilium_hybrid.api.conditions import Condition, Documented
from cilium_hybrid.api.fields import MAX_CIDR_LENGTH, MAX_CIDRS
from cilium_hybrid.api.schema import list_map

MAX_UNREADY: Final = 10
MAX_HISTORY: Final = 10
MAX_FINDINGS: Final = 10
MAX_PLAN: Final = 12
MAX_DRIFT: Final = 10


class Phase(StrEnum):
    """Summary of the state in one word, for people. Programs read the conditions."""

    INSTALLING = "Installing"
    PREFLIGHT = "Preflight"
    UPGRADING = "Upgrading"
    ROLLING_BACK = "RollingBack"
    READY = "Ready"
    DEGRADED = "Degraded"
    BLOCKED = "Blocked"
    SUSPENDED = "Suspended"
    DELETING = "Deleting"


class UnreadyReason(Documented):
    """Why a hybrid node is not ready: the first of these that applies, with its meaning."""

    NODE_DISCONNECTED = "NodeDisconnected", "The node does not report to the API server: its `Ready` is `Unknown`."
    AGENT_NOT_READY = "AgentNotReady", "The node has no Cilium agent pod, or the pod is waiting, crashing or not ready."
    NO_POD_CIDR = "NoPodCIDR", "The CiliumNode has no pod CIDR block, or reports an IPAM error."
    NODE_NOT_READY = "NodeNotReady", "The kubelet reports the node as not ready, although Cilium is healthy on it."
    AGENT_TAINT_PRESENT = "AgentTaintPresent", "The taint `node.cilium.io/agent-not-ready` is not removed yet."


class PreflightResult(StrEnum):
    """Result of the preflight check of a version."""

    RUNNING = "Running"
    PASSED = "Passed"
    FAILED = "Failed"


class PlanPhase(StrEnum):
    """Phase of a step of the plan."""

    PENDING = "Pending"
    PREFLIGHT = "Preflight"
    APPLY = "Apply"
    ROLLOUT = "Rollout"
    DONE = "Done"


class HistoryAction(StrEnum):
    """Why the operator created a Helm revision."""

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
    """Version of the Cilium chart that is deployed."""
    target: str | None = None
    """Version of the Cilium chart that the spec asks for."""
    initial: str | None = None
    """Minor version that was first installed in this cluster, as `X.Y`. It is the chart's `upgradeCompatibility`."""
    latest_patch: str | None = None
    """Newest patch release of the running minor version in the registry. Updated a few times a day."""


class Release(_Model):
    """Newest revision of the Helm release `cilium`."""

    revision: int
    """Number of the revision."""
    status: str
    """Status of the revision as Helm reports it, such as `deployed`."""
    chart: str
    """Reference of the chart of the revision."""
    chart_digest: str
    """Digest of the chart of the revision."""
    values_digest: str
    """Digest of the values of the revision."""


class UnreadyNode(_Model):
    """Hybrid node that is not ready."""

    name: str
    """Name of the node."""
    reason: UnreadyReason
    """Root cause: why the node is not ready."""
    message: str
    """Human-readable description of the cause."""
    since: datetime
    """Time at which the operator first observed this reason."""


class Nodes(_Model):
    """Number of hybrid nodes in each state."""

    total: int = 0
    """Number of hybrid nodes."""
    ready: int = 0
    """Number of hybrid nodes that are ready, with a healthy Cilium."""
    agents_ready: int = 0
    """Number of hybrid nodes with a ready Cilium agent."""
    up_to_date: int = 0
    """Number of hybrid nodes whose agent has the deployed version and configuration, connected or not."""
    disconnected: int = 0
    """Number of hybrid nodes that do not report to the API server."""
    unready_reasons: dict[str, int] = {}
    """Number of nodes that are not ready, by reason. Reasons without a node are omitted."""
    summary: str = "0/0"
    """Ready and total number of nodes, as `ready/total`."""
    updated: str = "0/0"
    """Up-to-date and total number of nodes, as `upToDate/total`."""
    unready: tuple[UnreadyNode, ...] = Field((), max_length=MAX_UNREADY)
    """Nodes that are not ready, at most ten, most severe reasons first."""


class PlanStep(_Model):
    """Step towards the version and configuration that the spec asks for."""

    version: str
    """Version of the Cilium chart that this step applies."""
    phase: PlanPhase
    """Phase of the step."""
    notes: tuple[str, ...] = ()
    """Upgrade notes, if the step enters another minor version."""


class PreflightStatus(_Model):
    """Preflight check of the next version."""

    version: str
    """Version of the Cilium chart that is checked."""
    digest: str | None = None
    """Digest of what is checked. A result is valid for exactly this release."""
    result: PreflightResult
    """Result of the check."""
    ready: int = 0
    """Number of expected nodes whose preflight pod is ready."""
    expected: int = 0
    """Number of nodes the check must pass on: connected nodes with a ready agent."""
    findings: tuple[str, ...] = Field((), max_length=MAX_FINDINGS + 1)
    """What keeps the check from passing. At most ten findings, then the number of further ones."""


class RolloutStatus(_Model):
    """Progress of a rollout."""

    updated: int
    """Number of connected nodes whose agent runs the deployed version and configuration and is ready."""
    total: int
    """Number of connected hybrid nodes."""
    outdated: int
    """Number of connected nodes whose agent has not been restarted yet."""
    current: tuple[str, ...] = Field((), max_length=MAX_UNREADY)
    """Nodes whose restarted agent is not ready yet, at most ten."""
    unhealthy_before: tuple[str, ...] = ()
    """Nodes whose agent was not ready before its restart. They are updated, but do not count as a failure."""
    last_progress_at: datetime
    """Time at which an agent was last restarted, became ready or stopped being ready."""


class NodeBlocks(_Model):
    """Number of pod CIDR blocks. Each node needs one block."""

    total: int = 0
    """Number of blocks in all pools."""
    used: int = 0
    """Number of blocks assigned to nodes."""
    free: int = 0
    """Number of unassigned blocks: how many more nodes can join."""


class AppliedIpam(_Model):
    """IPAM settings that the cluster holds on to."""

    pod_cidrs: tuple[Annotated[str, Field(max_length=MAX_CIDR_LENGTH)], ...] = Field(
        (), alias="podCIDRs", max_length=MAX_CIDRS
    )
    """Pod CIDRs that run, or are being applied, in canonical form. They can't be removed from the spec."""
    mask_size: int | None = None
    """Prefix length of the block of a node. It can't be changed."""


class Ipam(_Model):
    """Usage of the cluster pool."""

    applied: AppliedIpam | None = None
    """Settings that an edit of `spec.ipam` must keep. Absent as long as nothing runs."""
    node_blocks: NodeBlocks = NodeBlocks()
    """Number of pod CIDR blocks in all pools."""
    pods_per_node: int = 0
    """Number of pods that the block of a node has addresses for."""
    exhausted: tuple[str, ...] = ()
    """Pod CIDRs without a free block."""


class Drift(_Model):
    """Objects of the Helm release that were changed or deleted outside of the operator."""

    count: int = 0
    """Number of objects that differ from the release."""
    sample: tuple[str, ...] = Field((), max_length=MAX_DRIFT)
    """Objects that differ, at most ten, with the differing fields and the managers that wrote them."""


class HistoryEntry(_Model):
    """Helm revision that the operator created."""

    at: datetime
    """Time at which the revision was created."""
    action: HistoryAction
    """Why the revision was created."""
    from_version: str | None = Field(None, alias="from")
    """Version of the Cilium chart before the revision."""
    to_version: str = Field(alias="to")
    """Version of the Cilium chart of the revision."""
    revision: int
    """Number of the Helm revision."""
    result: Literal["Succeeded", "Failed"]
    """Whether Helm applied the revision."""
    rollout: Literal["Verified", "Rejected"] | None = None
    """`Verified` once the agents run the revision without fault, `Rejected` once they have failed. Absent before."""


class Status(_Model):
    """Observed state of Cilium on the hybrid nodes."""

    observed_generation: int | None = None
    """Generation of the spec that this status describes. -1 if the operator has not processed the resource yet."""
    phase: Phase | None = None
    """Summary of the state in one word, for people. Programs should read the conditions."""
    version: Version = Version()
    """Versions of Cilium in this cluster."""
    release: Release | None = None
    """Newest revision of the Helm release `cilium`. Absent if the operator has not created one."""
    plan: tuple[PlanStep, ...] = Field((), max_length=MAX_PLAN)
    """Steps towards what the spec asks for, in order. Empty if nothing has to change."""
    plan_digest: str | None = None
    """Digest of the plan. Set the annotation `ciliumhybrid.io/approve` to it to approve the plan."""
    preflight: PreflightStatus | None = None
    """Preflight check of the next version. Absent if none ran for it."""
    nodes: Nodes = Nodes()
    """Number of hybrid nodes in each state, and the nodes that are not ready."""
    rollout: RolloutStatus | None = None
    """Progress of the rollout. Absent if no rollout is in progress."""
    ipam: Ipam | None = None
    """Usage of the cluster pool. Absent if Cilium is not installed."""
    drift: Drift | None = None
    """Objects of the Helm release that differ from it. Absent if they have not been compared yet."""
    findings: tuple[str, ...] = Field((), max_length=MAX_FINDINGS)
    """Problems that block nothing, each with what to do about it. At most ten."""
    history: tuple[HistoryEntry, ...] = Field((), max_length=MAX_HISTORY)
    """The last ten Helm revisions that the operator created."""
    conditions: tuple[Condition, ...] = Field((), json_schema_extra=list_map("type"))
    """Conditions of the resource. `Ready` is always present, `Reconciling` and `Stalled` only while true."""


def parse_status(raw: Mapping[str, Any]) -> Status | None:
    """Return the parsed status; None if another version of the operator wrote it in an unknown form."""
    try:
        return Status.model_validate(raw)
    except ValidationError:
        return None
