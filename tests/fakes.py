"""The ports in memory: small real classes that keep the promises of the adapters (tests/contract holds them to it)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from builders import a_cilium_node, an_agent, blocks
from cilium_hybrid.api.status import Status
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
    Record,
    Revision,
)
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.ports import (
    ClusterUnavailableError,
    FetchedChart,
    PortError,
    StaleError,
)
from cilium_hybrid.rules.rendered.reading import one_by_one, title
from fake_charts import FakeCharts, PublishedChart, Values
from fake_clock import FixedClock
from fake_preflights import FakePreflights

__all__ = ["FakeCharts", "FakeCluster", "FakePreflights", "FakeReleases", "FixedClock", "PublishedChart", "Tally"]


@dataclass
class FakeReleases:
    """Helm's records in memory. `applied` holds the values of each revision, and `made` its objects where a test says.

    `fault` is raised by the next `apply`, which leaves a revision of status `leaves` behind, or none.
    """

    clock: FixedClock
    revisions: list[Revision] = field(default_factory=list)
    applied: dict[int, Values] = field(default_factory=dict)
    fault: PortError | None = None
    leaves: str | None = None
    made: dict[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def newest(self) -> Revision:
        """The revision that Helm goes by."""
        return self.revisions[-1]

    async def apply(self, chart: FetchedChart, values: Values, expected: Revision) -> None:
        """Make exactly revision `expected`; StaleError where Helm is elsewhere, ApplyFailedError."""
        assert chart.version == expected.chart_version
        self._stands_at(expected.number - 1)
        if self.revisions and self.newest.status.startswith("pending"):
            raise StaleError("Helm is at work on the release")
        fault, self.fault = self.fault, None
        leaves, self.leaves = self.leaves, None
        if fault is None or leaves is not None:
            self._make(replace(expected, made_at=self.clock.now(), status=leaves or "deployed"), values)
        if fault is not None:
            raise fault

    async def unlock(self, revision: int) -> None:
        """Mark a pending newest revision failed; StaleError where it is not the newest, or not pending."""
        self._stands_at(revision)
        if not (self.newest.status.startswith("pending") or self.newest.status == "uninstalling"):
            raise StaleError(f"revision {revision} is no longer pending")
        self.revisions[-1] = replace(self.newest, status="failed")

    async def rollback(self, to: int, expected: int) -> None:
        """Go back to revision `to` as exactly revision `expected`; StaleError, ApplyFailedError."""
        self._stands_at(expected - 1)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self._make(Revision(expected, "deployed", self.clock.now(), copies=to), self.applied[to])
        self.made[expected] = self.made.get(to, ())

    async def claim(self, revision: int) -> None:
        """Label the newest revision, which a rollback made, as the operator's; StaleError where it is another."""
        self._stands_at(revision)
        to = self.newest.copies
        if to is None or self.newest.managed:
            raise StaleError(f"revision {revision} is no longer to be claimed")
        old = next(made for made in self.revisions if made.number == to)
        self.revisions[-1] = replace(old, number=revision, status="deployed", made_at=self.newest.made_at, copies=to)

    async def manifests(self, revision: int) -> Sequence[Mapping[str, Any]]:
        """The objects that a revision was made of, none where Helm has it no more; ClusterUnavailableError."""
        return self.made.get(revision, ()) if revision in {made.number for made in self.revisions} else ()

    async def uninstall(self, revision: int) -> None:
        """Uninstall the release, which stands at `revision`; StaleError, UninstallFailedError."""
        self._stands_at(revision)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self.revisions.clear()

    def upgrade_by_hand(self, *, status: str = "deployed", values: Values | None = None) -> None:
        """What `helm upgrade` of an admin does, or `helm rollback`."""
        number = self.newest.number + 1 if self.revisions else 1
        self._make(Revision(number, status, self.clock.now()), values or {})

    def uninstall_by_hand(self, *, keep_history: bool = False) -> None:
        """What `helm uninstall` of an admin does."""
        if keep_history:
            self.revisions[-1] = replace(self.newest, status="uninstalled")
        else:
            self.revisions.clear()

    def _make(self, revision: Revision, values: Values) -> None:
        if revision.status == "deployed" and self.revisions:
            # As Helm does: what the new revision took the place of is superseded, though it had failed.
            before = next((old for old in self.revisions if old.status == "deployed"), self.newest)
            self.revisions[before.number - 1] = replace(before, status="superseded")
        self.revisions.append(revision)
        self.applied[revision.number] = values

    def _stands_at(self, revision: int) -> None:
        newest = self.revisions[-1].number if self.revisions else 0
        if newest != revision:
            raise StaleError(f"Helm stands at revision {newest}, not {revision}")


class FakeCluster:
    """A cluster in memory, in which Helm's revisions show at once, and the preflight.

    `meanwhile` holds what happens right after the next looks, one each; `away` is what the API says while it is away,
    and `refuses_finalizers` what it says to those alone; `refused` counts how often it did. `answer` is what a survey
    finds, and `asked` what was asked for. `policies` says what rejects an object, by its kind and name. `ended` are the
    agent pods that were deleted; new ones are Ready at once, or in `trouble`. `edited`: what is not as released.
    """

    def __init__(self, releases: FakeReleases, preflights: FakePreflights | None = None) -> None:
        self.away: str | None = None
        self.refuses_finalizers: str | None = None
        self.refused = 0
        self.meanwhile: list[Callable[[], None]] = []
        self.written: list[Mapping[str, Any]] = []
        self.told: list[StatusEvent] = []
        self.records: list[Record] = []
        self.ended: list[str] = []
        self.failure_message = ""
        self.nodes: dict[str, HybridNode] = {}
        self.rest = Observation()
        self.answer = Lookups()
        self.policies: dict[str, str] = {}
        self.asked: list[LookupRequest] = []
        self.edited: list[Difference] = []
        self.compared = 0
        self._releases, self._preflights = releases, preflights or FakePreflights(releases.clock)
        self._resource: Resource | None = None

    def edit(self, spec: Mapping[str, Any]) -> None:
        """What `kubectl apply` of a user does."""
        before = self._resource
        if before is None:
            self._resource = Resource(1, "1", spec, {}, uid=str(uuid4()))
        else:
            self._resource = replace(
                before, generation=before.generation + 1, resource_version=_after(before), spec=spec
            )

    def approve(self, plan_digest: str) -> None:
        """What `kubectl annotate` of a user does; it is no other generation."""
        assert self._resource is not None
        self._resource = replace(self._resource, resource_version=_after(self._resource), approved=plan_digest)

    def delete(self) -> None:
        """What `kubectl delete` of a user does; a resource that is held stays until it is let go."""
        before = self._resource
        if before is not None and before.finalizers:
            self._resource = replace(
                before, generation=before.generation + 1, resource_version=_after(before), deleting=True
            )
        else:
            self._resource = None

    @property
    def finalizers(self) -> Sequence[str]:
        """The finalizers as the API server holds them; none where there is no resource."""
        return () if self._resource is None else self._resource.finalizers

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as the API server holds it."""
        assert self._resource is not None
        return self._resource.status

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """How the objects that are there differ from these."""
        self.compared += 1
        self._answer()
        titles = {title(manifest) for manifest in manifests}
        return tuple(difference for difference in self.edited if difference.title in titles)

    async def resource(self) -> Resource | None:
        """The CiliumHybrid, read now; None where there is none."""
        self._answer()
        return self._resource

    def observe(self) -> Observation:
        """What the watches hold."""
        record = self.records[-1] if self.records else None
        seen = replace(
            self.rest,
            revisions=tuple(self._releases.revisions),
            record=record,
            nodes=dict(self.nodes),
            nodes_with_pods=frozenset(self.rest.agents),
            preflight=self._preflights.seen,
        )
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return seen

    async def lookups(self, lookup_request: LookupRequest) -> Lookups:
        """What is not watched, looked up now; ClusterUnavailableError."""
        self._answer()
        self.asked.append(lookup_request)
        return self.answer

    async def dry_run(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """What the API server would not take of these, a sentence each; nothing is changed; ClusterUnavailableError."""
        self._answer()
        named = [title(manifest) for manifest in one_by_one(manifests)]
        return [f"{name}: {self.policies[name]}" for name in named if name in self.policies]

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status of exactly this version of the resource; StaleError, ClusterUnavailableError."""
        now = self._same(resource)
        self._resource = replace(now, resource_version=_after(now), status=status)
        self.written.append(status)

    def tell(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Tell people what changed."""
        assert resource.uid
        self.told += status_events

    async def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of exactly this version of the resource; StaleError, ClusterUnavailableError."""
        now = self._same(resource)
        if self.refuses_finalizers is not None:
            self.refused += 1
            raise ClusterUnavailableError(self.refuses_finalizers)
        gone = now.deleting and not finalizers
        has_finalizer = replace(now, resource_version=_after(now), finalizers=tuple(finalizers))
        self._resource = None if gone else has_finalizer

    async def end_agents(self, pods: Sequence[str]) -> None:
        """Delete these pods of Cilium's agents, those that are still there; ClusterUnavailableError."""
        self._answer()
        self.ended += pods
        nodes = [pod.node for pod in self.rest.agents.values() if pod.name in pods]
        if nodes:
            self.roll_out(*nodes)

    async def write_record(self, record: Record) -> None:
        """Replace the record; ClusterUnavailableError."""
        self._answer()
        self.records.append(record)

    def start_operator(self) -> None:
        """Cilium's operator reads what is released and becomes available; the agents' DaemonSet is rewritten."""
        values = self._releases.applied[self._releases.newest.number]
        pool, annotations = values["ipam"]["operator"], values["podAnnotations"]
        self.rest = replace(
            self.rest,
            pool=PoolConfig(tuple(pool["clusterPoolIPv4PodCIDRList"]), pool["clusterPoolIPv4MaskSize"]),
            agent_set=AgentSet(annotations[CONFIG_DIGEST], observed=True),
            cilium_operator=CiliumOperator(replicas=2, available=2, observed=True),
        )

    def roll_out(self, *names: str) -> None:
        """The agents of these nodes, or of all, run what is released, and have a block."""
        assert self.rest.agent_set is not None
        assert self.rest.pool is not None
        run, cilium_nodes = self.rest.agent_set.config_digest, dict(self.rest.cilium_nodes)
        has_finalizer = {cidr for cilium_node in cilium_nodes.values() for cidr in cilium_node.pod_cidrs}
        free = (
            block
            for block in blocks(self.rest.pool.pod_cidrs[0], self.rest.pool.mask_size)
            if block not in has_finalizer
        )
        chosen = names or tuple(self.nodes)
        for name in chosen:
            cilium_nodes.setdefault(name, a_cilium_node(name, pod_cidrs=[next(free)]))
        agents = {
            name: an_agent(
                name, config_digest=run, ready=not self.failure_message, failure_message=self.failure_message
            )
            for name in chosen
        }
        self.rest = replace(self.rest, agents={**self.rest.agents, **agents}, cilium_nodes=cilium_nodes)

    def put_agent(self, agent: AgentPod) -> None:
        """The agent of one node fares otherwise; it runs the configuration that it ran."""
        run = self.rest.agents[agent.node].config_digest
        self.rest = replace(self.rest, agents={**self.rest.agents, agent.node: replace(agent, config_digest=run)})

    def lose_agent(self, name: str) -> None:
        """The agent of one node is gone."""
        self.rest = replace(self.rest, agents={node: pod for node, pod in self.rest.agents.items() if node != name})

    def end_pods(self) -> None:
        """What was uninstalled is gone from every node."""
        self.rest = Observation()

    def overwrite_status(self, status: Mapping[str, Any]) -> None:
        """What another version of the operator left behind."""
        assert self._resource is not None
        self._resource = replace(self._resource, status=status)

    def _same(self, resource: Resource) -> Resource:
        self._answer()
        now = self._resource
        if now is None or now.resource_version != resource.resource_version:
            raise StaleError("the resource changed while it was looked at")
        return now

    def _answer(self) -> None:
        if self.away is not None:
            raise ClusterUnavailableError(self.away)


def _after(resource: Resource) -> str:
    return str(int(resource.resource_version) + 1)


class Tally:
    """The Telemetry port, remembered."""

    def __init__(self) -> None:
        self.passes: list[float] = []
        self.faults = 0
        self.begun = 0
        self.statuses: list[Status | None] = []
        self.certificates: Sequence[Certificate] = ()

    def began(self) -> None:
        """A pass begins."""
        self.begun += 1

    def passed(self, seconds: float) -> None:
        """A pass ended."""
        self.passes.append(seconds)

    def fault(self) -> None:
        """A pass failed by a fault of the operator itself."""
        self.faults += 1

    def saw(self, status: Status | None, certificates: Sequence[Certificate] = ()) -> None:
        """A status was made, and these certificates were seen; None where the resource is gone."""
        self.statuses.append(status)
        self.certificates = certificates
