"""Condition types and reasons, with their meanings, from which docs/conditions.md is generated."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Documented(StrEnum):
    """An enum whose members have a meaning for the documentation."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Create a member from its value and its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class ConditionType(Documented):
    """Type of a condition, with what it means if the condition is True."""

    READY = "Ready", "Cilium runs on every connected hybrid node as the spec asks. Summarizes all other conditions."
    RECONCILING = (
        "Reconciling",
        "The operator is making changes, or waits to retry. Absent otherwise.",
    )
    STALLED = "Stalled", "The operator cannot continue without user action. Absent otherwise."
    PREFLIGHT_PASSED = "PreflightPassed", "The next version passed its preflight check. Absent if none ran."
    VALID = "Valid", "The spec is valid. The message lists every violation and warning."
    RELEASED = "Released", "The deployed Helm revision matches the spec."
    NODES_READY = "NodesReady", "Every hybrid node is ready."


class Reason(Documented):
    """Reason of a condition, with its meaning. Members are only ever added, never renamed."""

    ACCEPTED = "Accepted", "The spec is valid."
    IN_SYNC = "InSync", "Cilium runs as the spec asks."
    NO_HYBRID_NODES = "NoHybridNodes", "Cilium is installed; no hybrid node has joined the cluster yet."
    NODES_DISCONNECTED = "NodesDisconnected", "All connected nodes are ready; other nodes do not report."
    NODES_JOINING = "NodesJoining", "A node has been unready for less than two minutes, for example because it joined."
    NODES_NOT_READY = "NodesNotReady", "A connected hybrid node is not ready."
    INVALID_SPEC = "InvalidSpec", "The spec is not valid."
    INVALID_VALUES = "InvalidValues", "`spec.values` contains a value that is not allowed, or the chart rejects it."
    POD_CIDR_OVERLAP = (
        "PodCIDROverlap",
        "A pod CIDR overlaps another pod CIDR, a network in `spec.networks` or an address in use.",
    )
    POD_CIDR_REMOVED = "PodCIDRRemoved", "A pod CIDR that is in use was removed, changed or reordered."
    MASK_CHANGED = "MaskChanged", "`spec.ipam.maskSize` differs from the mask size in use."
    VERSION_UNSUPPORTED = (
        "VersionUnsupported",
        "The version is not supported, or cannot be reached from the running version.",
    )
    VERSION_SKIPPED = "VersionSkipped", "The downgrade skips a minor version."
    KERNEL_TOO_OLD = "KernelTooOld", "The kernel of a hybrid node is too old for this version of Cilium."
    FOREIGN_CNI = "ForeignCNI", "Another CNI plugin runs on hybrid nodes."
    RELEASE_NOT_OWNED = "ReleaseNotOwned", "The Helm release `cilium` exists, but the operator did not create it."
    FOREIGN_REVISION = (
        "ForeignRevision",
        "The newest revision of the Helm release was created by something other than the operator.",
    )
    CHART_UNAVAILABLE = "ChartUnavailable", "The chart cannot be fetched; the operator retries."
    CHART_REFUSED = "ChartRefused", "The chart has an unexpected digest, or its registry is not allowed."
    RENDER_REFUSED = "RenderRefused", "The chart renders an object that the operator does not allow."
    INSTALLING = "Installing", "Cilium is being installed."
    CONFIGURING = "Configuring", "A new configuration is being applied."
    PREFLIGHT_RUNNING = "PreflightRunning", "The preflight check of the next version is running; nothing has changed."
    PREFLIGHT_PASSED = "PreflightPassed", "The next version passed its preflight check."
    PREFLIGHT_FAILED = "PreflightFailed", "The next version failed its preflight check; nothing has changed."
    POLICY_REJECTED = (
        "PolicyRejected",
        "The API server rejects an object of the next step, or of the running release; nothing has changed.",
    )
    AWAITING_APPROVAL = "AwaitingApproval", "The plan waits for approval."
    UPGRADING = "Upgrading", "Another version is being applied."
    ROLLING_OUT = "RollingOut", "Agents with an outdated configuration are being restarted."
    ROLLOUT_STALLED = (
        "RolloutStalled",
        "The rollout has stopped, or updated agents failed and are not rolled back; no further agent is restarted.",
    )
    ROLLING_BACK = "RollingBack", "Updated agents failed; the last verified revision is being restored."
    ROLLED_BACK = (
        "RolledBack",
        "Updated agents failed; the last verified revision was restored. The operator retries only on request.",
    )
    APPLY_FAILED = "ApplyFailed", "Helm could not apply the release; the operator retries."
    RELEASE_LOCKED = (
        "ReleaseLocked",
        "An operation of Helm is in progress or was interrupted, or the newest revision cannot be decoded.",
    )
    API_UNAVAILABLE = (
        "APIUnavailable",
        "The Kubernetes API, or a watch that decisions rest on, is unavailable; nothing is changed meanwhile.",
    )
    DELETING = "Deleting", "The resource is being deleted, and `spec.deletionPolicy` is being carried out."
    DELETION_BLOCKED = "DeletionBlocked", "Cilium could not be uninstalled; the operator retries."
    SUSPENDED = "Suspended", "`spec.suspend` is true: the operator only reports the status and changes nothing."


class Condition(BaseModel):
    """Condition in the form of metav1.Condition."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    type: ConditionType = Field(description="Type of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="Status of the condition.")
    reason: Reason = Field(description="Machine-readable reason for the status, in CamelCase.")
    message: str = Field(description="Human-readable explanation of the status, with what to do about it.")
    observed_generation: int = Field(description="Generation of the spec that the condition describes.")
    last_transition_time: datetime = Field(description="Time at which the status of the condition last changed.")


def find_condition(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """Return the condition of one type; None if it is absent."""
    return next((condition for condition in conditions if condition.type is kind), None)


def keep_transition_time(previous: tuple[Condition, ...], condition: Condition) -> Condition:
    """Return the condition, with its previous transition time if its status did not change."""
    before = find_condition(previous, condition.type)
    if before is None or before.status != condition.status:
        return condition
    return condition.model_copy(update={"last_transition_time": before.last_transition_time})
