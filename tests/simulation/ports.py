# ruff: noqa: ARG002 # the model ignores what it does not model
"""The ports of one process of the operator over the model. A process can be stopped, or fail, between any two calls."""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from cilium_hybrid.adapters.kube.node_leases import FORGET_AFTER
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Certificate, Difference, Lookups, Observation
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.ports import ClusterUnavailableError, FetchedChart, Rendered, StaleError
from cilium_hybrid.rules.cluster_facts import AddressRange, parse_address_ranges
from simulation.objects import Values
from simulation.registry import render
from simulation.writes import Write

if TYPE_CHECKING:
    from simulation.process import Process

OWN_WRITE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A point at which a process may be stopped, or fail: before, during or after a call of a port."""

    call: str
    phase: Literal["before", "during", "after"]

    def __await__(self) -> Generator["Pause", None, None]:
        """Let the process go on, or raise what the fault is."""
        yield self


class Port:
    """What all ports have: the process, and its right to act."""

    def __init__(self, process: "Process") -> None:
        self._process, self._world = process, process.world

    async def _read(self, call: str) -> None:
        await Pause(call, "before")
        self._require_api()

    async def _write(self, call: str) -> None:
        await Pause(call, "before")
        self._require_api()
        if not self._process.may_act:
            raise StaleError("the Lease was not renewed in time")

    def _require_api(self) -> None:
        if not self._world.api_up:
            raise ClusterUnavailableError("connection refused")

    async def _written(self, call: str, *kinds: str) -> None:
        """End a write: the watches show it, unless they stall."""
        self._world.publish()
        for kind in kinds:
            self._process.view.wait_for(kind, self._world.timeline.now, OWN_WRITE_SECONDS)
        await Pause(call, "after")


class SimulatedCluster(Port):
    """The Cluster port."""

    def __init__(self, process: "Process") -> None:
        super().__init__(process)
        self._renewals: Mapping[tuple[str, str], int] = {}
        self._asked_at = 0.0

    async def resource(self) -> Resource | None:
        """Read the CiliumHybrid."""
        await self._read("resource")
        self._process.read = self._world.users.resource
        return self._process.read

    async def observe_node_labels(self, keys: Collection[str]) -> None:
        """Read the nodes again if the observed labels change."""
        if frozenset(keys) != self._process.node_labels:
            await self._read("observe_node_labels")
            self._process.node_labels = frozenset(keys)

    def observe(self) -> Observation:
        """Return the cluster as the watches last saw it."""
        return self._process.observe()

    async def lookups(self, lookup_request: LookupRequest) -> Lookups:
        """Read what is not watched."""
        await self._read("lookups")
        used = self._world.used_addresses
        pods = parse_address_ranges([("address of pod default/x", used)]) if used else ()
        policies = self._world.peering_policies if lookup_request.peering_policies else ()
        return Lookups(_within(pods, lookup_request.networks), policies)

    async def dry_run(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Return what an admission policy rejects."""
        await self._read("dry_run")
        return self._world.policies()

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """Compare nothing: drift is not modelled."""
        await self._read("differences")
        return ()

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status of exactly this version of the resource."""
        await self._write("write_status")
        self._world.check(Write("write_status", self._process, status=status))
        self._world.users.write(resource, status=status)
        self._process.quiet = 0
        await self._written("write_status")

    def record_events(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Record the reasons of Events."""
        self._world.coverage.events.update(event.reason for event in status_events)

    async def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of exactly this version of the resource."""
        await self._write("write_finalizers")
        self._world.check(Write("write_finalizers", self._process))
        self._world.users.write(resource, finalizers=tuple(finalizers))
        await self._written("write_finalizers")

    async def delete_agent_pods(self, pods: Sequence[PodRef]) -> None:
        """Delete exactly these agent pods."""
        for ref in pods:
            await self._write("delete_agent_pods")
            found = self._world.find_pod(ref.name)
            if found is not None and found.uid == ref.uid and not found.terminating:
                node = self._world.machines.nodes.get(found.node)
                if node is not None and node.pending is found:
                    self._world.check(Write("delete_pending", self._process, pod=found))
                    self._world.machines.delete_pending(node)
                    continue
                self._world.check(Write("delete_pod", self._process, pod=found))
                self._world.ledger.deleted(found, self._process)
                self._world.machines.delete_pod(found)
        await self._written("delete_agent_pods", "pods")

    async def require_fresh(self, nodes: Collection[str]) -> None:
        """Require that the watches show these nodes and their agents as they are."""
        await self._read("require_fresh")
        if not self._process.view.is_fresh(nodes):
            raise StaleError("the watches lag")

    async def have_reported(self, nodes: Collection[tuple[str, str]]) -> bool:
        """Return whether the Leases of these nodes were renewed since the first call about them."""
        await self._read("have_reported")
        now = self._process.clock.monotonic()
        if now - self._asked_at > FORGET_AFTER:
            self._renewals = {}
        self._asked_at = now
        found = {node: self._world.machines.renewals(node[0]) for node in nodes}
        self._renewals = {node: self._renewals.get(node, number) for node, number in found.items()}
        return all(number > self._renewals[node] for node, number in found.items())

    async def dry_run_agent_pod(self) -> Sequence[str]:
        """Return why a pod of the present agent template would be rejected."""
        await self._write("dry_run_agent_pod")
        self._process.dry_runs += 1
        return self._world.agent_pod_refusals()

    async def write_record(self, record: Record) -> None:
        """Replace the record if it is still the one that was read."""
        await self._write("write_record")
        if record.resource_version != self._world.record_version:
            raise StaleError("the record has changed since it was read")
        self._world.check(Write("write_record", self._process, record=record))
        self._world.ledger.recorded(record)
        self._world.put_record(record)
        await self._written("write_record", "record")


def _within(found: Sequence[AddressRange], networks: Sequence[tuple[int, int]]) -> tuple[AddressRange, ...]:
    return tuple(item for item in found if any(first <= item.last and item.first <= last for first, last in networks))


class SimulatedCharts(Port):
    """The Charts port."""

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Return a chart of the registry."""
        await Pause("fetch", "before")
        return self._world.registry.fetch(ref, version, pinned_digest)

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        """List the versions of a chart."""
        await Pause("versions", "before")
        return self._world.registry.list_versions(ref)

    async def defaults(self, chart: FetchedChart) -> Mapping[str, Any]:
        """Return the default values of a chart."""
        await Pause("defaults", "before")
        return {}

    async def render(self, chart: FetchedChart, values: Values, release: str = RELEASE) -> Rendered:
        """Render a chart."""
        await self._read("render")
        return Rendered(render(chart, values, release))


class SimulatedTelemetry:
    """The Telemetry port, which keeps nothing."""

    def reconcile_started(self) -> None:
        """Keep nothing."""

    def reconcile_finished(self, seconds: float) -> None:
        """Keep nothing."""

    def reconcile_failed(self) -> None:
        """Keep nothing."""

    def record_status(self, status: Status | None, certificates: Sequence[Certificate] = ()) -> None:
        """Keep nothing."""

    def status_written(self, error: str | None) -> None:
        """Keep nothing."""
