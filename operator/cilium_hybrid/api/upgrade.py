"""The fields below `spec.upgrade`: how changes to the running Cilium are made."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from cilium_hybrid.api.fields import (
    EXAMPLE_DIGEST,
    MAX_VIA,
    ChartVersion,
    Digest,
    Duration,
    IntOrPercentage,
    SpecModel,
)

DEFAULT_GROUP: Final = "topology.kubernetes.io/zone"


class RolloutStrategy(StrEnum):
    """Who restarts the agents to apply a new configuration."""

    GATED = "Gated"
    ROLLING_UPDATE = "RollingUpdate"


class Rollout(SpecModel):
    """How agents are restarted to apply a new version or configuration."""

    strategy: RolloutStrategy = Field(
        RolloutStrategy.GATED,
        description="How the agents are restarted. `Gated`: the operator restarts them node by node and stops if one "
        "fails. `RollingUpdate`: the DaemonSet controller restarts them. Defaults to Gated.",
    )
    canary: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="Number of nodes of each group that are updated first. Defaults to 1.", examples=[2]
    )
    max_unavailable: IntOrPercentage = Field(
        1,
        alias="maxUnavailable",
        description="Maximum number of nodes that may be unavailable when a healthy agent is restarted: a number, or a "
        "percentage of the connected nodes, rounded up. Defaults to 1.",
        examples=[5, "25%"],
    )
    group_by: Annotated[str, StringConstraints(min_length=1, max_length=317)] = Field(
        DEFAULT_GROUP,
        alias="groupBy",
        description="Node label that divides the nodes into groups. One group is updated after another. "
        f"Defaults to {DEFAULT_GROUP}.",
        examples=["example.com/rack"],
    )
    soak: Duration = Field(
        "30s",
        description="Time for which an updated agent must stay Ready to count as healthy. The rest of a group is "
        "updated when its canaries have been Ready for so long. Defaults to 30s.",
        examples=["10m"],
    )
    progress_deadline: Duration = Field(
        "20m",
        alias="progressDeadline",
        description="Maximum time without progress before a rollout stops, and maximum time for an updated agent to "
        "become Ready. Defaults to 20m.",
        examples=["1h30m"],
    )


class OnFailure(StrEnum):
    """What the operator does if updated agents fail."""

    ROLLBACK = "Rollback"
    PAUSE = "Pause"


class Preflight(SpecModel):
    """Preflight check of the target version."""

    enabled: bool = Field(
        True, description="Whether the preflight check runs before every change of version. Defaults to true."
    )
    timeout: Duration = Field(
        "10m",
        description="Maximum time without progress before the preflight check is considered failed. Defaults to 10m.",
        examples=["30m"],
    )


class Via(SpecModel):
    """Intermediate version of an upgrade."""

    version: ChartVersion = Field(
        description="Version of the Cilium chart, in the form of `spec.version`.", examples=["1.18.8-1"]
    )
    digest: Digest | None = Field(
        None,
        description="Digest that the chart of this version must have. If set, a chart with any other digest is "
        "refused.",
        examples=[EXAMPLE_DIGEST],
    )


class Approval(StrEnum):
    """Whether a change waits for approval."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class Upgrade(SpecModel):
    """How changes to the running Cilium are made."""

    preflight: Preflight = Field(
        Preflight(), description="Preflight check, run with the chart of the target version before it is applied."
    )
    via: Annotated[tuple[Via, ...], Field(max_length=MAX_VIA)] = Field(
        (),
        description="Intermediate versions of an upgrade, oldest first. If empty, the operator uses the newest patch "
        "release of each minor version in the registry.",
        examples=[[{"version": "1.18.8-1"}]],
    )
    approval: Approval = Field(
        Approval.AUTOMATIC,
        description="Whether a change to the running Cilium waits for approval. `Automatic`: changes start "
        "immediately. `Manual`: a change starts once the annotation `ciliumhybrid.io/approve` is set to the value of "
        "`status.planDigest`. Defaults to Automatic.",
    )
    rollout: Rollout = Field(Rollout(), description="How agents are restarted to apply a new version or configuration.")
    on_failure: OnFailure = Field(
        OnFailure.ROLLBACK,
        alias="onFailure",
        description="What the operator does if updated agents fail. `Rollback`: roll back to the last verified "
        "revision, which ran on all nodes that were healthy. `Pause`: stop, and wait for user action. "
        "Defaults to Rollback.",
    )
