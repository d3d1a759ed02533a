"""What the operator needs of the world: Helm, charts, the cluster, a clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from cilium_hybrid.api.status import Status
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Certificate, Difference, Lookups, Observation, Record, Revision
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.plan.validate import LookupRequest


class PortError(Exception):
    """Something outside went wrong; the message is a sentence that holds no secret."""


class ChartUnavailableError(PortError):
    """The chart cannot be had now; it may be later."""


class ChartRefusedError(PortError):
    """A chart was served, and it is not the wanted one."""


class ValuesRefusedError(PortError):
    """The chart does not render with these values, and never will."""


class ApplyFailedError(PortError):
    """Helm ran and could not apply the release."""


class HelmEndedError(PortError):
    """Somebody or something ended Helm by a signal; what it did so far can be seen."""


class UninstallFailedError(PortError):
    """Helm ran and could not uninstall the release."""


class ClusterUnavailableError(PortError):
    """The Kubernetes API did not answer."""


class PolicyRejectedError(PortError):
    """The API server would refuse what is to be applied, or what runs now."""


class StaleError(PortError):
    """The cluster is no longer as it was when the decision was made; look again."""


@dataclass(frozen=True, slots=True)
class FetchedChart:
    """A chart on local disk, and the digest that it was served under."""

    path: Path
    version: str
    digest: str


class Charts(Protocol):
    """Charts, fetched once and kept."""

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Chart `version` of `ref`; ChartUnavailableError, ChartRefusedError."""

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        """The versions that the registry has of `ref`, asked anew each time; ChartUnavailableError."""

    async def defaults(self, chart: FetchedChart) -> Mapping[str, Any]:
        """The values that the chart has of itself; ChartRefusedError, ChartUnavailableError."""

    async def render(
        self, chart: FetchedChart, values: Mapping[str, Any], release: str = RELEASE
    ) -> Sequence[Mapping[str, Any]]:
        """What the chart makes of the values for a release, object by object; ValuesRefusedError."""


class Releases(Protocol):
    """Helm release `cilium` in kube-system."""

    async def apply(self, chart: FetchedChart, values: Mapping[str, Any], expected: Revision) -> None:
        """Make exactly revision `expected`; StaleError where Helm is elsewhere, ApplyFailedError."""

    async def rollback(self, to: int, expected: int) -> None:
        """Go back to revision `to` as exactly revision `expected`; StaleError, ApplyFailedError."""

    async def claim(self, revision: int) -> None:
        """Label the newest revision, which a rollback made, as the operator's; StaleError where it is another."""

    async def uninstall(self, revision: int) -> None:
        """Uninstall the release, which stands at `revision`; StaleError, UninstallFailedError."""

    async def manifests(self, revision: int) -> Sequence[Mapping[str, Any]]:
        """The objects that a revision was made of, none where Helm has it no more; ClusterUnavailableError."""

    async def unlock(self, revision: int) -> None:
        """Mark a pending newest revision failed; StaleError where it is not the newest, or not pending."""


class Preflights(Protocol):
    """Helm release `cilium-preflight` in kube-system: one at a time, in one revision."""

    async def start(self, chart: FetchedChart, values: Mapping[str, Any], expected: Revision) -> None:
        """Install it as exactly `expected`, its revision 1, in the place of whatever is left of one before.

        StaleError, ApplyFailedError, and all that `end` raises.
        """

    async def end(self) -> None:
        """Take it away, whatever of it is there; StaleError, UninstallFailedError, ClusterUnavailableError."""


class Cluster(Protocol):
    """The Kubernetes API, read through watches and written rarely."""

    async def resource(self) -> Resource | None:
        """The CiliumHybrid, read now; None where there is none."""

    def observe(self) -> Observation:
        """What the watches hold."""

    async def lookups(self, lookup_request: LookupRequest) -> Lookups:
        """What is not watched, looked up now; ClusterUnavailableError."""

    async def dry_run(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """What the API server would not take of these, a sentence each; nothing is changed; ClusterUnavailableError."""

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """How the objects that are there differ from these; nothing is changed; ClusterUnavailableError."""

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status of exactly this version of the resource; StaleError, ClusterUnavailableError."""

    def tell(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Tell people what changed. Takes no time and never fails: what cannot be told is lost."""

    async def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of exactly this version of the resource; StaleError, ClusterUnavailableError."""

    async def end_agents(self, pods: Sequence[str]) -> None:
        """Delete these pods of Cilium's agents, those that are still there; ClusterUnavailableError."""

    async def write_record(self, record: Record) -> None:
        """Replace the record; ClusterUnavailableError."""


class Telemetry(Protocol):
    """What is counted."""

    def began(self) -> None:
        """A pass begins."""

    def passed(self, seconds: float) -> None:
        """A pass ended."""

    def fault(self) -> None:
        """A pass failed by a fault of the operator itself."""

    def saw(self, status: Status | None, certificates: Sequence[Certificate] = ()) -> None:
        """A status was made, and these certificates were seen; None where the resource is gone."""


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """UTC, in whole seconds."""
