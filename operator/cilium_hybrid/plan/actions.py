"""The actions that the operator can take, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightStatus
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.release import DesiredRelease
from cilium_hybrid.rules.rule import Violation


@dataclass(frozen=True, slots=True)
class Apply:
    """Install or upgrade the release, as exactly this revision.

    `spec_digest` is the digest of this release (see `release_digest`). `replaces` is the deployed revision, None for an
    install. `single_operator_node`: only one node can run the Cilium operator; this alone causes no revision.
    `record`, with the IPAM facts of this release, is written before Helm is called.
    """

    desired_release: DesiredRelease
    revision: int
    spec_digest: str = ""
    replaces: int | None = None
    single_operator_node: bool = False
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class ListVersions:
    """List the versions of the chart in the registry."""

    chart_ref: str


@dataclass(frozen=True, slots=True)
class StartPreflight:
    """Install the preflight of a version, with only those of the user's values that its images need."""

    desired_release: DesiredRelease
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EndPreflight:
    """Remove the preflight and everything that is left of one."""


@dataclass(frozen=True, slots=True)
class Unlock:
    """Mark a revision as failed that an interrupted Helm left pending. Touches no workload.

    `record`, which remembers the revision as unlocked, is written first.
    """

    revision: int
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Write the record of what runs. Touches no workload."""

    record: Record


@dataclass(frozen=True, slots=True)
class PodRef:
    """One pod: its name, and the UID that it must still have."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class RestartAgents:
    """Delete these agent pods; the DaemonSet recreates them with the released configuration.

    `record`, which names the nodes as restarted, is written first if it is not None. `first`: no agent of this rollout
    was restarted before, so a pod of the new template is sent as a server-side dry run first. `canaries` are
    nodes, with the UIDs of their new pods, whose soak time ended a moment ago: they must still report to the API
    server, which a short soak time does not show.
    """

    pods: tuple[PodRef, ...]
    record: Record | None = None
    first: bool = False
    canaries: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Rollback:
    """Restore revision `target` as exactly this revision: its chart and its values, with these IPAM facts.

    `record` is written first. `replaces` is the deployed revision.
    """

    target: Revision
    revision: int
    pod_cidrs: tuple[str, ...]
    mask_size: int | None
    record: Record
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class MarkRevision:
    """Label a revision of the operator's as verified or rejected, and write the record, which says the same.

    The payload of a verified revision is kept in Secret cilium-hybrid-verified. `nodes` are those with the evidence
    against a rejected revision: they and their agent pods are read afresh first, since a watch may lag. `canaries` are
    those of a verified one that must still report, as in `RestartAgents`.
    """

    revision: int
    mark: Literal["verified", "rejected"]
    record: Record
    nodes: tuple[str, ...] = ()
    canaries: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Uninstall:
    """Uninstall Cilium. Only chosen while the resource is being deleted."""

    revision: int


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Add the finalizer to the resource, so that its deletion waits for the deletion policy."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Remove the finalizer from the resource."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Change nothing until the next reconciliation."""


Action = (
    Apply
    | MarkRevision
    | EndPreflight
    | ListVersions
    | AddFinalizer
    | RemoveFinalizer
    | RestartAgents
    | Nothing
    | WriteRecord
    | Rollback
    | StartPreflight
    | Uninstall
    | Unlock
)


@dataclass(frozen=True, slots=True)
class Decision:
    """The next action, and why. The reason and the message are written to the status unchanged.

    `stalled`: only a person can fix it. `violations`: all of them, if the spec is invalid. `preflight`: the new
    `status.preflight`, if the decision changes it.
    """

    action: Action
    reason: Reason
    message: str
    stalled: bool = False
    violations: tuple[Violation, ...] = ()
    preflight: PreflightStatus | None = None
