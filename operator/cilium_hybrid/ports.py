"""Interfaces to the outside world: Helm, chart registries, the cluster, monitoring and the clock.

Docstrings name the errors that each method raises; every error is a PortError.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from cilium_hybrid.api.status import Status
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Certificate, Difference, Lookups, Observation, ReleasePayload, Revision
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.plan.validate import LookupRequest


class PortError(Exception):
    """An external system failed. The message is a sentence for users and contains no secret."""


class ChartUnavailableError(PortError):
    """The chart cannot be fetched now; a retry may succeed."""


class ChartRefusedError(PortError):
    """The fetched chart is not the requested one."""


class ValuesRefusedError(PortError):
    """The chart does not render with these values; a retry fails in the same way."""


class ApplyFailedError(PortError):
    """Helm ran and failed to apply the release."""


class HelmInterruptedError(PortError):
    """Helm was killed by a signal; the release shows how far it got."""


class UninstallFailedError(PortError):
    """Helm ran and failed to uninstall the release."""


class ClusterUnavailableError(PortError):
    """The Kubernetes API did not answer, or rejected a request that the operator needs."""


class PolicyRejectedError(PortError):
    """The API server would reject objects of the next revision or of the current one."""


class StaleError(PortError):
    """The cluster has changed since the decision; observe and decide again."""


@dataclass(frozen=True, slots=True)
class FetchedChart:
    """A chart on the local disk, and the digest under which the registry served it."""

    path: Path
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a chart renders for a release in this cluster, including hooks: judged, and then applied as it is.

    `stream` is what Helm applies, and `manifests` are the objects in it. Both may contain private keys. `problem` is
    an error that Helm reported after it had rendered, such as an object that it may not read: the manifests can then be
    judged, but not applied.
    """

    manifests: Sequence[Mapping[str, Any]] = field(repr=False)
    stream: bytes = field(default=b"", repr=False)
    problem: "PortError | None" = None


class Charts(Protocol):
    """Charts, fetched once and cached."""

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Return chart `version` of `ref`; ChartUnavailableError, ChartRefusedError."""

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        """List the versions of `ref` in the registry, without a cache; ChartUnavailableError."""

    async def defaults(self, chart: FetchedChart) -> Mapping[str, Any]:
        """Return the default values of the chart; ChartRefusedError, ChartUnavailableError."""

    async def render(self, chart: FetchedChart, values: Mapping[str, Any], release: str = RELEASE) -> Rendered:
        """Render what Helm would apply next for a release, with the capabilities and lookups of the cluster.

        ValuesRefusedError, ChartRefusedError, ApplyFailedError, StaleError, HelmInterruptedError,
        ClusterUnavailableError.
        """


class Releases(Protocol):
    """Helm release `cilium` in kube-system.

    Each write raises StaleError if Helm's newest revision is not the expected one, or if this process may no longer
    act. ClusterUnavailableError: Helm or the operator got no answer from the API server.
    """

    async def apply(
        self, chart: FetchedChart, values: Mapping[str, Any], rendered: Rendered, expected: Revision
    ) -> None:
        """Create exactly revision `expected` with exactly the objects of `rendered`.

        StaleError, ApplyFailedError, HelmInterruptedError, ClusterUnavailableError.
        """

    async def restorable(self, revision: int) -> tuple[FetchedChart, Mapping[str, Any]]:
        """Return chart and values of a revision from its payload, or from the kept one of the last verified revision.

        ApplyFailedError if neither can be read, ChartUnavailableError if the chart cannot be written to the disk,
        ClusterUnavailableError.
        """

    async def mark(self, revision: int, mark: Literal["verified", "rejected"]) -> None:
        """Label a revision of the operator's; the payload of a verified one is kept beyond Helm's history.

        Nothing happens if Helm no longer has the revision; StaleError, ClusterUnavailableError.
        """

    async def payload(self, revision: int) -> ReleasePayload:
        """Return what is known of a revision from its payload; StaleError if it is gone, ClusterUnavailableError."""

    async def uninstall(self, revision: int) -> None:
        """Uninstall the release, whose newest revision is `revision`.

        StaleError, UninstallFailedError, HelmInterruptedError, ClusterUnavailableError.
        """

    async def manifests(self, revision: int) -> Sequence[Mapping[str, Any]]:
        """Return the manifests of a revision, none if Helm no longer has it; ClusterUnavailableError."""

    async def unlock(self, revision: int) -> None:
        """Mark a pending newest revision as failed.

        StaleError if it is not the newest or not pending, ClusterUnavailableError.
        """


class Preflights(Protocol):
    """Helm release `cilium-preflight` in kube-system: one at a time, with a single revision."""

    async def start(
        self, chart: FetchedChart, values: Mapping[str, Any], rendered: Rendered, expected: Revision
    ) -> None:
        """Remove what is left of an earlier preflight, and install this one as exactly revision `expected`, number 1.

        StaleError, ApplyFailedError, HelmInterruptedError, and every error of `end`.
        """

    async def end(self) -> None:
        """Remove whatever exists of the preflight.

        StaleError, UninstallFailedError, HelmInterruptedError, ClusterUnavailableError.
        """


class Cluster(Protocol):
    """The Kubernetes API: observed through watches, and written rarely.

    Every write but an Event raises StaleError if this process may no longer act.
    """

    async def resource(self) -> Resource | None:
        """Read the CiliumHybrid; None if there is none; ClusterUnavailableError."""

    async def observe_node_labels(self, keys: Collection[str]) -> None:
        """Include these labels of hybrid nodes, and no others, in every further observation; ClusterUnavailableError.

        A change of any other label starts no reconciliation.
        """

    def observe(self) -> Observation:
        """Return the cluster as the watches last saw it."""

    async def lookups(self, lookup_request: LookupRequest) -> Lookups:
        """Read what is not watched; ClusterUnavailableError."""

    async def dry_run(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Return what the API server would reject, a sentence for each object; ClusterUnavailableError."""

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """Return the live objects that differ from these manifests; ClusterUnavailableError."""

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status of exactly this version of the resource; StaleError, ClusterUnavailableError."""

    def record_events(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Queue Kubernetes Events; never blocks and never fails. An Event that cannot be written is dropped."""

    async def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of exactly this version of the resource; StaleError, ClusterUnavailableError."""

    async def delete_agent_pods(self, pods: Sequence[PodRef]) -> None:
        """Delete exactly these agent pods, if they still exist; StaleError, ClusterUnavailableError."""

    async def require_fresh(self, nodes: Collection[str]) -> None:
        """Read these nodes and their agent pods afresh; StaleError unless the watches show them as they are.

        ClusterUnavailableError.
        """

    async def have_reported(self, nodes: Collection[tuple[str, str]]) -> bool:
        """Return whether all of these nodes have reported to the API server since the first call about them.

        With each node comes the UID of its agent pod: with another pod, or after a pause between two calls, it must
        report again. ClusterUnavailableError.
        """

    async def dry_run_agent_pod(self) -> Sequence[str]:
        """Return why a pod of the present agent template would be rejected, a sentence each; ClusterUnavailableError.

        A quota counts only if it would also refuse the pod after one present agent is gone.
        """

    async def write_record(self, record: Record) -> None:
        """Replace the record if it is still the one that was read; StaleError, ClusterUnavailableError."""


class Telemetry(Protocol):
    """Records reconciliations and the current status for monitoring."""

    def reconcile_started(self) -> None:
        """Record that a reconciliation started."""

    def reconcile_finished(self, seconds: float) -> None:
        """Record that a reconciliation ended, whether it succeeded or failed, and how long it took."""

    def reconcile_failed(self) -> None:
        """Count a reconciliation that failed because of an error in the operator."""

    def record_status(self, status: Status | None, certificates: Sequence[Certificate] = ()) -> None:
        """Replace the reported status and certificates; None if the resource does not exist."""

    def status_written(self, error: str | None) -> None:
        """Record that the status in the cluster is up to date, or why it cannot be brought up to date."""


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Return the time in UTC, in whole seconds."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back and that has no meaning to another process."""
