"""Condition types and reasons: the closed vocabulary in which the operator speaks."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Word(StrEnum):
    """A word of a closed vocabulary, with its meaning."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Carry the meaning with the name, so that the documentation is made from it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class ConditionType(_Word):
    """What a condition speaks of, with its meaning when True."""

    READY = "Ready", "What the spec asks for runs on every connected hybrid node. The summary of all others."
    RECONCILING = "Reconciling", "The operator is at work, or will try again by itself. Absent otherwise."
    STALLED = "Stalled", "The operator waits for a person. Absent otherwise."
    PREFLIGHT_PASSED = "PreflightPassed", "The version that comes next passed its pre-flight check."
    VALID = "Valid", "The spec breaks no rule."
    RELEASED = "Released", "The newest Helm revision is the one that the spec leads to."
    NODES_READY = "NodesReady", "Every hybrid node passes all of its legs."


class Reason(_Word):
    """Why a condition is as it is, with its meaning. Members are added, never renamed."""

    ACCEPTED = "Accepted", "The spec breaks no rule."
    IN_SYNC = "InSync", "What the spec asks for runs, on every connected hybrid node."
    NO_HYBRID_NODES = "NoHybridNodes", "Cilium is released and waits for the first hybrid node to join."
    NODES_DISCONNECTED = "NodesDisconnected", "All connected nodes are well; others do not report."
    NODES_JOINING = "NodesJoining", "A node joined or blinked less than two minutes ago."
    NODES_NOT_READY = "NodesNotReady", "A connected hybrid node fails one of its legs."
    INVALID_SPEC = "InvalidSpec", "The spec breaks a rule of form."
    INVALID_VALUES = "InvalidValues", "The values hold a refused path, or the chart refuses them."
    POD_CIDR_OVERLAP = "PodCIDROverlap", "A pod CIDR overlaps another one, a declared network or an address in use."
    POD_CIDR_REMOVED = "PodCIDRRemoved", "A pod CIDR that is in use was removed, changed or moved."
    MASK_CHANGED = "MaskChanged", "maskSize differs from the one in use."
    VERSION_UNSUPPORTED = "VersionUnsupported", "That version is not supported, or not to be had from the running one."
    VERSION_SKIPPED = "VersionSkipped", "The way down to that version skips a minor release."
    KERNEL_TOO_OLD = "KernelTooOld", "A hybrid node has a kernel that this version of Cilium does not run on."
    FOREIGN_CNI = "ForeignCNI", "Another CNI has pods on hybrid nodes."
    RELEASE_NOT_OWNED = "ReleaseNotOwned", "A release `cilium` exists that the operator did not make."
    FOREIGN_REVISION = "ForeignRevision", "Somebody else made the newest revision of the operator's release."
    CHART_UNAVAILABLE = "ChartUnavailable", "The chart cannot be fetched now; it is tried again."
    CHART_REFUSED = "ChartRefused", "The chart is not the one that the spec names, or not from an allowed registry."
    RENDER_REFUSED = "RenderRefused", "The rendered manifests hold what is not Cilium's, or reach beyond what is."
    INSTALLING = "Installing", "Cilium is being installed."
    CONFIGURING = "Configuring", "A change of configuration is being released."
    PREFLIGHT_RUNNING = "PreflightRunning", "The pre-flight check of the next version runs; nothing is changed yet."
    PREFLIGHT_PASSED = "PreflightPassed", "The next version passed its pre-flight check."
    PREFLIGHT_FAILED = "PreflightFailed", "The next version failed its pre-flight check; nothing was changed."
    POLICY_REJECTED = (
        "PolicyRejected",
        "The API server would not take what the next step applies, or what runs now; nothing was changed.",
    )
    AWAITING_APPROVAL = "AwaitingApproval", "The plan waits for a person to approve it."
    UPGRADING = "Upgrading", "Another version is being released."
    ROLLING_OUT = "RollingOut", "Agents that run an older configuration are being replaced."
    ROLLOUT_STALLED = (
        "RolloutStalled",
        "The rollout of the agents does not get on, or its new agents fail; it stands still.",
    )
    ROLLING_BACK = "RollingBack", "New agents failed, and the last good revision is being restored."
    ROLLED_BACK = (
        "RolledBack",
        "New agents failed; what ran before was restored, and no second try is made.",
    )
    APPLY_FAILED = "ApplyFailed", "Helm could not apply the release; it is tried again."
    RELEASE_LOCKED = "ReleaseLocked", "An interrupted Helm left the release pending; it is being unlocked."
    API_UNAVAILABLE = "APIUnavailable", "The Kubernetes API could not be reached by Helm; it is tried again."
    DELETING = "Deleting", "The resource is being deleted, and what its deletionPolicy says is being done."
    DELETION_BLOCKED = "DeletionBlocked", "Cilium could not be uninstalled; it is tried again."
    SUSPENDED = "Suspended", "spec.suspend is set: the operator reports and changes nothing."


class Condition(BaseModel):
    """One condition in the form of metav1.Condition."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    type: ConditionType = Field(description="What the condition speaks of.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Reason = Field(description="Why, in one word of a closed list.")
    message: str = Field(description="Why, in a sentence with the next step.")
    observed_generation: int = Field(description="The generation that was judged.")
    last_transition_time: datetime = Field(description="When the status last changed.")


def find_condition(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """Return the condition of one type; None if it is absent."""
    return next((condition for condition in conditions if condition.type is kind), None)


def since(before: tuple[Condition, ...], condition: Condition) -> Condition:
    """Give the condition the transition time it already had, where its status did not change."""
    known = find_condition(before, condition.type)
    if known is None or known.status != condition.status:
        return condition
    return condition.model_copy(update={"last_transition_time": known.last_transition_time})
