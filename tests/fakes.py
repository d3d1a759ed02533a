"""The ports in memory; tests/contract runs the same tests against them and the adapters."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from builders import a_cilium_node, an_agent, blocks
from cilium_hybrid.api.crd import NOT_OBSERVED
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.upgrade import DEFAULT_GROUP
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import (
    AgentPod,
    AgentSet,
    Certificate,
    CiliumOperator,
    Difference,
    HybridNode,
    Lookups,
    Observation,
    PoolConfig,
)
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.ports import (
    ClusterUnavailableError,
    StaleError,
)
from cilium_hybrid.rules.rendered.reading import flatten_lists, kind_and_name
from fake_charts import FakeCharts, PublishedChart
from fake_clock import FixedClock
from fake_preflights import FakePreflights
from fake_releases import FakeReleases

__all__ = [
    "FakeCharts",
    "FakeCluster",
    "FakePreflights",
    "FakeReleases",
    "FixedClock",
    "PublishedChart",
    "RecordingTelemetry",
]


class FakeCluster:
    """A cluster in memory that shows Helm's revisions and the preflight at once.

    `meanwhile` has a change for each of the next observations, made right after it. `outage` is the API server's error
    while it is unavailable, `finalizer_error` its error for writes of finalizers, which `refused_writes` counts.
    `lookup_result` answers the `lookup_requests`. `policies` are the errors of admission policies, by kind and name of
    the object. `deleted_pods` are agent pods; their replacements are Ready at once, or have `failure_message`. `edited`
    is what differs from the release. `node_labels` are the labels that are observed. `agent_pod_rejected` is why
    the API server would reject an agent pod. `unseen` are nodes that have changed since they were observed,
    `silent` those that do not report to the API server.
    """

    def __init__(self, releases: FakeReleases, preflights: FakePreflights | None = None) -> None:
        self.outage: str | None = None
        self.finalizer_error: str | None = None
        self.refused_writes = 0
        self.meanwhile: list[Callable[[], None]] = []
        self.written: list[Mapping[str, Any]] = []
        self.events: list[StatusEvent] = []
        self.records: list[Record] = []
        self.deleted_pods: list[str] = []
        self.failure_message = ""
        self.agent_pod_rejected: list[str] = []
        self.unseen: set[str] = set()
        self.silent: set[str] = set()
        self.nodes: dict[str, HybridNode] = {}
        self.rest = Observation()
        self.lookup_result = Lookups()
        self.policies: dict[str, str] = {}
        self.lookup_requests: list[LookupRequest] = []
        self.edited: list[Difference] = []
        self.compared = 0
        self.node_labels = frozenset({DEFAULT_GROUP})
        self._releases, self._preflights = releases, preflights or FakePreflights(releases.clock)
        self._resource: Resource | None = None

    def edit(self, spec: Mapping[str, Any]) -> None:
        """Apply a spec, as a user does."""
        before = self._resource
        if before is None:
            self._resource = Resource(1, "1", spec, {"observedGeneration": NOT_OBSERVED}, uid=str(uuid4()))
        else:
            self._resource = replace(
                before, generation=before.generation + 1, resource_version=_after(before), spec=spec
            )

    def request(self, value: str) -> None:
        """Set the reconcile annotation, as a user does; the generation stays."""
        assert self._resource is not None
        self._resource = replace(self._resource, resource_version=_after(self._resource), requested=value)

    def approve(self, plan_digest: str) -> None:
        """Annotate the resource, as a user does; the generation stays."""
        assert self._resource is not None
        self._resource = replace(self._resource, resource_version=_after(self._resource), approved=plan_digest)

    def delete(self) -> None:
        """Delete the resource, as a user does; with a finalizer, it stays until that is removed."""
        before = self._resource
        if before is not None and before.finalizers:
            self._resource = replace(
                before, generation=before.generation + 1, resource_version=_after(before), deleting=True
            )
        else:
            self._resource = None

    @property
    def finalizers(self) -> Sequence[str]:
        """The finalizers in the API server; none without a resource."""
        return () if self._resource is None else self._resource.finalizers

    @property
    def status(self) -> Mapping[str, Any]:
        """The status in the API server."""
        assert self._resource is not None
        return self._resource.status

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """Return what differs from these manifests."""
        self.compared += 1
        self._raise_outage()
        titles = {kind_and_name(manifest) for manifest in manifests}
        return tuple(difference for difference in self.edited if difference.title in titles)

    async def resource(self) -> Resource | None:
        """Read the CiliumHybrid; None if there is none."""
        self._raise_outage()
        return self._resource

    async def observe_node_labels(self, keys: Collection[str]) -> None:
        """Include only these labels of hybrid nodes in every further observation; ClusterUnavailableError."""
        if frozenset(keys) != self.node_labels:
            self._raise_outage()
            self.node_labels = frozenset(keys)

    def observe(self) -> Observation:
        """Return the cluster as the watches last saw it."""
        observation = replace(
            self.rest,
            revisions=tuple(self._releases.revisions),
            record=self.record,
            nodes={name: self._with_observed_labels(node) for name, node in self.nodes.items()},
            nodes_with_agent_pods=frozenset(self.rest.agents),
            preflight=self._preflights.observed,
        )
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return observation

    async def lookups(self, lookup_request: LookupRequest) -> Lookups:
        """Read what is not watched; ClusterUnavailableError."""
        self._raise_outage()
        self.lookup_requests.append(lookup_request)
        return self.lookup_result

    async def dry_run(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Return what the API server would reject, a sentence for each object; ClusterUnavailableError."""
        self._raise_outage()
        named = [kind_and_name(manifest) for manifest in flatten_lists(manifests)]
        return [f"{name}: {self.policies[name]}" for name in named if name in self.policies]

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status of exactly this version of the resource; StaleError, ClusterUnavailableError."""
        now = self._same(resource)
        self._resource = replace(now, resource_version=_after(now), status=status)
        self.written.append(status)

    def record_events(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Record the events."""
        assert resource.uid
        self.events += status_events

    async def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of exactly this version of the resource; StaleError, ClusterUnavailableError."""
        now = self._same(resource)
        if self.finalizer_error is not None:
            self.refused_writes += 1
            raise ClusterUnavailableError(self.finalizer_error)
        deleted = now.deleting and not finalizers
        changed = replace(now, resource_version=_after(now), finalizers=tuple(finalizers))
        self._resource = None if deleted else changed

    async def delete_agent_pods(self, pods: Sequence[PodRef]) -> None:
        """Delete exactly these agent pods; StaleError, ClusterUnavailableError."""
        self._raise_outage()
        present = {pod.name: pod for pod in self.rest.agents.values()}
        for pod in pods:
            if pod.name not in present:
                continue
            if present[pod.name].uid != pod.uid:
                raise StaleError(f"pod {pod.name} was replaced")
            self.deleted_pods.append(pod.name)
            self.roll_out(present[pod.name].node)

    async def require_fresh(self, nodes: Collection[str]) -> None:
        """Return, because this cluster is always observed as it is; StaleError for a node in `unseen`."""
        self._raise_outage()
        if unseen := self.unseen & set(nodes):
            self.unseen.clear()
            raise StaleError(f"nodes {sorted(unseen)} have changed since they were observed")

    async def have_reported(self, nodes: Collection[tuple[str, str]]) -> bool:
        """Return whether none of these nodes is in `silent`."""
        self._raise_outage()
        return not self.silent & {name for name, _ in nodes}

    async def dry_run_agent_pod(self) -> Sequence[str]:
        """Return why a pod of the present agent template would be rejected; ClusterUnavailableError."""
        self._raise_outage()
        return self.agent_pod_rejected

    async def write_record(self, record: Record) -> None:
        """Replace the record if it is still the one that was read; StaleError, ClusterUnavailableError."""
        self._raise_outage()
        if record.resource_version != (self.record.resource_version if self.record else ""):
            raise StaleError("the record has changed since it was read")
        self.records.append(replace(record, resource_version=str(len(self.records) + 1)))

    @property
    def record(self) -> Record | None:
        """The record in the API server."""
        return self.records[-1] if self.records else None

    def start_operator(self) -> None:
        """Let the Cilium operator become available with the newest revision, and update the DaemonSet of the agents."""
        values = self._releases.applied[self._releases.newest.number]
        pool, annotations = values["ipam"]["operator"], values["podAnnotations"]
        self.rest = replace(
            self.rest,
            pool=PoolConfig(tuple(pool["clusterPoolIPv4PodCIDRList"]), pool["clusterPoolIPv4MaskSize"]),
            agent_set=AgentSet(annotations[CONFIG_DIGEST], observed=True),
            cilium_operator=CiliumOperator(replicas=2, available=2, observed=True),
        )

    def roll_out(self, *names: str) -> None:
        """Let the agents of these nodes, or of all, run the released configuration and have a node block."""
        assert self.rest.agent_set is not None
        assert self.rest.pool is not None
        run, cilium_nodes = self.rest.agent_set.config_digest, dict(self.rest.cilium_nodes)
        used = {cidr for cilium_node in cilium_nodes.values() for cidr in cilium_node.pod_cidrs}
        free = (block for block in blocks(self.rest.pool.pod_cidrs[0], self.rest.pool.mask_size) if block not in used)
        chosen = names or tuple(self.nodes)
        for name in chosen:
            cilium_nodes.setdefault(name, a_cilium_node(name, pod_cidrs=[next(free)]))
        agents = {
            name: an_agent(
                name,
                config_digest=run,
                ready=not self.failure_message,
                failure_message=self.failure_message,
                exits=1 if self.failure_message else 0,
                uid=str(uuid4()),
            )
            for name in chosen
        }
        self.rest = replace(self.rest, agents={**self.rest.agents, **agents}, cilium_nodes=cilium_nodes)

    def put_agent(self, agent: AgentPod) -> None:
        """Replace the agent of one node; its configuration stays."""
        run = self.rest.agents[agent.node].config_digest
        self.rest = replace(self.rest, agents={**self.rest.agents, agent.node: replace(agent, config_digest=run)})

    def crash(self) -> None:
        """Let a container of every failing agent exit once more."""
        agents = {
            name: replace(agent, exits=agent.exits + 1) if agent.failure_message else agent
            for name, agent in self.rest.agents.items()
        }
        self.rest = replace(self.rest, agents=agents)

    def lose_agent(self, name: str) -> None:
        """Remove the agent of one node."""
        self.rest = replace(self.rest, agents={node: pod for node, pod in self.rest.agents.items() if node != name})

    def delete_all_pods(self) -> None:
        """Remove every pod, as after an uninstall."""
        self.rest = Observation()

    def overwrite_status(self, status: Mapping[str, Any]) -> None:
        """Replace the status, as another version of the operator would."""
        assert self._resource is not None
        self._resource = replace(self._resource, status=status)

    def _with_observed_labels(self, node: HybridNode) -> HybridNode:
        return replace(node, labels={key: value for key, value in node.labels.items() if key in self.node_labels})

    def _same(self, resource: Resource) -> Resource:
        self._raise_outage()
        now = self._resource
        if now is None or now.resource_version != resource.resource_version:
            raise StaleError("the resource has changed")
        return now

    def _raise_outage(self) -> None:
        if self.outage is not None:
            raise ClusterUnavailableError(self.outage)


def _after(resource: Resource) -> str:
    return str(int(resource.resource_version) + 1)


class RecordingTelemetry:
    """A Telemetry that stores everything it receives."""

    def __init__(self) -> None:
        self.durations: list[float] = []
        self.errors = 0
        self.started = 0
        self.statuses: list[Status | None] = []
        self.certificates: Sequence[Certificate] = ()
        self.status_errors: list[str | None] = []

    def reconcile_started(self) -> None:
        """Record that a reconciliation started."""
        self.started += 1

    def reconcile_finished(self, seconds: float) -> None:
        """Record that a reconciliation ended, and how long it took."""
        self.durations.append(seconds)

    def reconcile_failed(self) -> None:
        """Count a reconciliation that failed because of an error in the operator."""
        self.errors += 1

    def record_status(self, status: Status | None, certificates: Sequence[Certificate] = ()) -> None:
        """Store the status and the certificates; None if the resource does not exist."""
        self.statuses.append(status)
        self.certificates = certificates

    def status_written(self, error: str | None) -> None:
        """Record why the status is out of date, None if it is not."""
        self.status_errors.append(error)
