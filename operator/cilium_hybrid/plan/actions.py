"""What the operator can do to the cluster, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightStatus
from cilium_hybrid.plan.observation import Record
from cilium_hybrid.plan.release import DesiredRelease
from cilium_hybrid.rules.rule import Violation


@dataclass(frozen=True, slots=True)
class Apply:
    """Install or upgrade the release to what is wanted, as exactly this revision.

    `wish` is a digest of all that the spec asks for. `over` is the revision that runs, None at an install.
    `one_place`: no second node could take Cilium's operator. That is no part of the wish: it makes no revision.
    """

    desired_release: DesiredRelease
    revision: int
    spec_digest: str = ""
    over: int | None = None
    one_place: bool = False


@dataclass(frozen=True, slots=True)
class ListVersions:
    """Ask the registry which versions of the chart it has."""

    chart_ref: str


@dataclass(frozen=True, slots=True)
class StartPreflight:
    """Run the pre-flight check of a version, with nothing of the user's but what its images need."""

    desired_release: DesiredRelease
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EndPreflight:
    """Take the preflight and all that is left of it away."""


@dataclass(frozen=True, slots=True)
class Unlock:
    """Mark a revision that an interrupted Helm left pending as failed. Touches no workload."""

    revision: int


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Write the record of what runs. Touches no workload."""

    record: Record


@dataclass(frozen=True, slots=True)
class RestartAgents:
    """End these agent pods; the DaemonSet makes them anew, of what is released."""

    pods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rollback:
    """Go back to a named revision that was once good, as exactly this revision."""

    to: int
    revision: int


@dataclass(frozen=True, slots=True)
class LabelRollback:
    """Label a revision that a rollback of the operator's made as its own; Helm copies the labels of the old one."""

    revision: int


@dataclass(frozen=True, slots=True)
class Uninstall:
    """Take Cilium away. Chosen only while the resource is being deleted, and says so itself."""

    revision: int


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Put the finalizer on the resource, so that its deletion waits for what the spec says."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Take the finalizer off the resource."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Leave the cluster as it is; the next event looks again."""


Action = (
    Apply
    | LabelRollback
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
    """The next action, and why. The reason and the message reach the status unchanged.

    `stalled`: only a person can mend it. `violations`: all of them, where the spec is at fault. `preflight`: what the
    status says of it, where the decision is about it.
    """

    action: Action
    reason: Reason
    message: str
    stalled: bool = False
    violations: tuple[Violation, ...] = ()
    preflight: PreflightStatus | None = None
