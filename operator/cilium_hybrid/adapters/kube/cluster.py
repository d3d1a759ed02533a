"""The Cluster port: observations from watches, fresh reads of the resource, and writes."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

from cilium_hybrid.adapters.kube import facts
from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.drift import differences
from cilium_hybrid.adapters.kube.dry_run import dry_run
from cilium_hybrid.adapters.kube.events import EventRecorder
from cilium_hybrid.adapters.kube.informer import Informer
from cilium_hybrid.adapters.kube.lookups import look_up
from cilium_hybrid.adapters.kube.preflight import PreflightWatches
from cilium_hybrid.adapters.kube.preflight_facts import CheckPod, scheduled_pods
from cilium_hybrid.adapters.kube.watches import CORE, CRD_NAME, RECORD_NAME, SECRETS_NAMESPACE, WATCHES, Watch
from cilium_hybrid.api.v1alpha1 import APPROVE, GROUP, KIND, NAME, PLURAL, VERSION
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import AgentPod, Difference, Lookups, Observation, Record, Revision, UnplacedAgent
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.ports import ClusterUnavailableError, StaleError

log = logging.getLogger(__name__)

Fact = TypeVar("Fact")

FIELD_MANAGER: Final = "cilium-hybrid"
UNSERVED_RETRY_SECONDS: Final = 600.0
"""How often the operator retries to watch ServiceCIDRs if the API server does not serve them."""
OWN_WRITE_SECONDS: Final = 10.0
"""How long a write waits until the watches show it."""

_RESOURCE: Final = f"/apis/{GROUP}/{VERSION}/{PLURAL}/{NAME}"


class KubeCluster:
    """The Cluster port over the Kubernetes API. `changed` is called after each change of an observed fact."""

    def __init__(self, client: KubeClient, changed: Callable[[], None]) -> None:
        self._client, self._events = client, EventRecorder(client.post)
        self._node_labels: Collection[str] | None = facts.DEFAULT_NODE_LABELS
        wait_until_served = {
            WATCHES.service_cidrs: _wait_for_cluster_upgrade,
            WATCHES.cilium_nodes: self._wait_for_cilium_nodes_crd,
        }
        self._informers: dict[Watch[Any], Informer[Any]] = {
            watch: Informer(
                client,
                watch.target,
                watch.to_fact,
                changed if watch.wakes else _ignore,
                wait_until_served.get(watch),
                watch.merge,
            )
            for watch in WATCHES
        }
        self.preflight = PreflightWatches(client, changed)

    @property
    def revisions(self) -> Informer[Revision]:
        """The informer of the revisions of release `cilium`."""
        return self._informer(WATCHES.revisions)

    def background_tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return the watches and the event recorder, which the caller runs concurrently, forever."""
        return [*(informer.run() for informer in self._all_informers()), self._events.run()]

    async def wait_until_synced(self) -> None:
        """Return when every watch has listed its objects."""
        for informer in self._all_informers():
            await informer.synced.wait()

    async def wait_for_crd(self) -> bool:
        """Return when the CRD of CiliumHybrid exists, and whether it existed at the time of the call."""
        informer = self._informer(WATCHES.own_crd)
        await informer.synced.wait()
        if CRD_NAME in informer.facts:
            return True
        log.warning("CRD %s does not exist; waiting until it is installed", CRD_NAME)
        await informer.wait_for(lambda crds: CRD_NAME in crds, seconds=None)
        return False

    async def is_crd_deleted(self) -> bool:
        """Return whether the CRD of CiliumHybrid was deleted; wait for a watch that lags."""
        return await self._informer(WATCHES.own_crd).wait_for(lambda crds: CRD_NAME not in crds, OWN_WRITE_SECONDS)

    async def observe_node_labels(self, keys: Collection[str]) -> None:
        """Include these labels of hybrid nodes, and no others, in every further observation; ClusterUnavailableError.

        If they change, the nodes are listed again before this returns. A change of any other label starts no
        reconciliation.
        """
        if self._node_labels is not None and set(keys) == set(self._node_labels):
            return
        self._node_labels = None
        try:
            await self._informer(WATCHES.nodes).rebuild(partial(facts.hybrid_node, labels=frozenset(keys)))
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot list nodes: {error}") from None
        self._node_labels = frozenset(keys)

    def observe(self) -> Observation:
        """Return the cluster as the watches last saw it."""
        all_pods = self._facts(WATCHES.pods).values()
        agents = [pod for pod in all_pods if isinstance(pod, AgentPod)]
        checks = [pod for pod in all_pods if isinstance(pod, CheckPod)]
        addresses = (WATCHES.cloud_nodes, WATCHES.service_cidrs, WATCHES.kubernetes_service)
        agent_set = self._facts(WATCHES.agent_set).get("cilium")
        operator = self._facts(WATCHES.cilium_operator).get("cilium-operator")
        pool, config_version = self._facts(WATCHES.config).get("cilium-config", (None, ""))
        return Observation(
            revisions=sorted_revisions(self._facts(WATCHES.revisions).values()),
            record=self._facts(WATCHES.record).get(RECORD_NAME),
            pool=pool,
            agent_set=agent_set,
            cilium_operator=operator,
            nodes=self._facts(WATCHES.nodes),
            agents=agents_by_node(agents),
            unplaced=unplaced_agents(all_pods),
            cilium_nodes=self._facts(WATCHES.cilium_nodes),
            taken=tuple(address for watch in addresses for found in self._facts(watch).values() for address in found),
            foreign_pods=tuple(self._facts(WATCHES.foreign_pods).values()),
            nodes_with_agent_pods=frozenset(pod.node for pod in agents),
            secrets_namespace_terminating=self._facts(WATCHES.secrets_namespace).get(SECRETS_NAMESPACE, False),
            definition_terminating=self._facts(WATCHES.own_crd).get(CRD_NAME, False),
            preflight=self.preflight.observe(checks),
            cloud_nodes=self._facts(WATCHES.cloud_nodes),
            other_pods=(*self._facts(WATCHES.other_pods).values(), *scheduled_pods(checks)),
            certificates=tuple(found for watch in WATCHES.certificates for found in self._facts(watch).values()),
            edits=(agent_set and agent_set.generation, operator and operator.generation, config_version),
        )

    async def lookups(self, lookup_request: LookupRequest) -> Lookups:
        """Read what is not watched; ClusterUnavailableError."""
        return await look_up(self._client, lookup_request, self._facts(WATCHES.nodes))

    async def dry_run(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Return what the API server would reject, a sentence for each object; ClusterUnavailableError."""
        try:
            return await dry_run(self._client, manifests)
        except ApiError as error:
            raise ClusterUnavailableError(f"server-side dry run failed: {error}") from None

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """Return the objects that differ from these manifests; ClusterUnavailableError."""
        try:
            return await differences(self._client, manifests)
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot compare the cluster with the release: {error}") from None

    async def resource(self) -> Resource | None:
        """Read the CiliumHybrid; None if there is none; ClusterUnavailableError."""
        try:
            raw = await self._client.get(_RESOURCE)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise ClusterUnavailableError(f"cannot read {KIND} {NAME}: {error}") from None
        return to_resource(raw)

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status of exactly this version of the resource; StaleError, ClusterUnavailableError."""
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": NAME, "resourceVersion": resource.resource_version},
            "spec": resource.spec,
            "status": status,
        }
        try:
            await self._client.put(f"{_RESOURCE}/status", body)
        except ApiError as error:
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise StaleError(f"{KIND} {NAME} has changed since it was read") from None
            raise ClusterUnavailableError(f"cannot write the status of {KIND} {NAME}: {error}") from None

    def record_events(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Queue Kubernetes Events; never blocks and never fails."""
        self._events.record(resource, status_events)

    async def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of exactly this version of the resource; StaleError, ClusterUnavailableError."""
        operations: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": resource.resource_version},
            {"op": "add", "path": "/metadata/finalizers", "value": list(finalizers)},
        ]
        try:
            await self._client.patch_json(_RESOURCE, operations)
        except ApiError as error:
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
                raise StaleError(f"{KIND} {NAME} has changed since it was read") from None
            raise ClusterUnavailableError(f"cannot write the finalizers of {KIND} {NAME}: {error}") from None

    async def delete_agent_pods(self, pods: Sequence[str]) -> None:
        """Delete these agent pods, and wait until the watch shows it, so that none is deleted twice."""
        for name in pods:
            try:
                await self._client.delete(f"{CORE}/pods/{name}")
            except ApiError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise ClusterUnavailableError(f"cannot delete pod {name}: {error}") from None
        await self._informer(WATCHES.pods).wait_for(
            lambda found: not any(name in found and _runs_on(found[name]) for name in pods), OWN_WRITE_SECONDS
        )

    async def write_record(self, record: Record) -> None:
        """Replace the record, and wait until the watch shows it; ClusterUnavailableError."""
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": RECORD_NAME,
                "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/managed-by": "cilium-hybrid-operator"},
            },
            "data": facts.record_data(record),
        }
        try:
            await self._client.apply(f"{CORE}/configmaps/{RECORD_NAME}", body, FIELD_MANAGER)
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot write ConfigMap {RECORD_NAME}: {error}") from None
        await self._informer(WATCHES.record).wait_for(
            lambda records: records.get(RECORD_NAME) == record, OWN_WRITE_SECONDS
        )

    def _informer(self, watch: Watch[Fact]) -> Informer[Fact]:
        return cast("Informer[Fact]", self._informers[watch])

    def _facts(self, watch: Watch[Fact]) -> Mapping[str, Fact]:
        return self._informer(watch).facts

    def _all_informers(self) -> tuple[Informer[Any], ...]:
        return (*self._informers.values(), *self.preflight.informers())

    async def _wait_for_cilium_nodes_crd(self) -> None:
        await self._informer(WATCHES.cilium_nodes_crd).wait_for(bool, seconds=None)


async def _wait_for_cluster_upgrade() -> None:
    """Control planes before Kubernetes 1.33 do not serve ServiceCIDRs."""
    await asyncio.sleep(UNSERVED_RETRY_SECONDS)


def _ignore() -> None:
    """Do nothing about a change."""


def sorted_revisions(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    """Return revisions by number."""
    return tuple(sorted(revisions, key=lambda revision: revision.number))


def agents_by_node(pods: Iterable[AgentPod]) -> dict[str, AgentPod]:
    """Return the agent pod of each node, without pods that are terminating."""
    return {pod.node: pod for pod in pods if not pod.terminating}


def _runs_on(pod: AgentPod | UnplacedAgent | CheckPod) -> bool:
    # A pod without a node is deleted at once: no kubelet has to stop it.
    return not isinstance(pod, UnplacedAgent) and not pod.terminating


def unplaced_agents(pods: Iterable[object]) -> dict[str, str]:
    """Return, by node, why the scheduler cannot schedule its agent."""
    return {pod.node: pod.cause for pod in pods if isinstance(pod, UnplacedAgent)}


def to_resource(raw: Mapping[str, Any]) -> Resource:
    """Return the CiliumHybrid of a raw object."""
    metadata = raw["metadata"]
    return Resource(
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        spec=raw.get("spec") or {},
        status=raw.get("status") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleting="deletionTimestamp" in metadata,
        approved=(metadata.get("annotations") or {}).get(APPROVE),
        uid=metadata["uid"],
    )
