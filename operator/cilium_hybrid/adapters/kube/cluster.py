"""The Cluster port: what the watches hold, the resource read afresh, the status and the record written."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.adapters.kube import facts
from cilium_hybrid.adapters.kube.certificates import certificate
from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.drift import differences
from cilium_hybrid.adapters.kube.dry_run import dry_run
from cilium_hybrid.adapters.kube.events import Events
from cilium_hybrid.adapters.kube.helm_secret import revision
from cilium_hybrid.adapters.kube.informer import CONFLICT, NOT_FOUND, Informer, WatchTarget
from cilium_hybrid.adapters.kube.lookups import lookups
from cilium_hybrid.adapters.kube.preflight import PreflightWatches
from cilium_hybrid.adapters.kube.preflight_facts import (
    OF_THE_AGENTS,
    OF_THE_CHECK,
    OF_THE_VALIDATOR,
    CheckPod,
    placed_pods,
    pod,
    pod_after,
)
from cilium_hybrid.api.v1alpha1 import APPROVE, GROUP, KIND, NAME, PLURAL, VERSION
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import AgentPod, Difference, Lookups, Observation, Record, Revision, UnplacedAgent
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.status.certificates import CERTIFICATES
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.ports import ClusterUnavailableError, StaleError
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE

log = logging.getLogger(__name__)

RECORD: Final = "cilium-hybrid-applied"
SECRETS_NAMESPACE: Final = "cilium-secrets"
FIELD_MANAGER: Final = "cilium-hybrid"
UNSERVED_SECONDS: Final = 600.0
"""How often a kind is looked for that the control plane does not serve."""
OWN_WRITE_SECONDS: Final = 10.0
"""How long a watch may take to show what was written."""

INVALID: Final = 422

_RESOURCE: Final = f"/apis/{GROUP}/{VERSION}/{PLURAL}/{NAME}"
_CORE: Final = f"/api/v1/namespaces/{NAMESPACE}"
_APPS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}"
OWN_DEFINITION: Final = f"{PLURAL}.{GROUP}"
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

_SERVICES: Final = "/api/v1/namespaces/default/services"
_SERVICE_CIDRS: Final = "/apis/networking.k8s.io/v1/servicecidrs"
OTHER_CNIS: Final = "k8s-app in (aws-node,calico-node,canal,kube-router)"

RELEASES: Final = WatchTarget(f"{_CORE}/secrets", labels="owner=helm,name=cilium", metadata_only=True)
HYBRID_NODES: Final = WatchTarget("/api/v1/nodes", labels=f"{HYBRID_LABEL}={HYBRID_VALUE}")
AGENTS: Final = WatchTarget(f"{_CORE}/pods", labels="k8s-app=cilium")
AGENT_SET: Final = WatchTarget(f"{_APPS}/daemonsets", fields="metadata.name=cilium")
CILIUM_NODES: Final = WatchTarget("/apis/cilium.io/v2/ciliumnodes")


class KubeCluster:
    """Watches what Cilium and its nodes are made of. `changed` is called after each change of a fact."""

    def __init__(self, client: KubeClient, changed: Callable[[], None]) -> None:
        self._client, self._events = client, Events(client.post)

        def named(path: str, name: str) -> WatchTarget:
            return WatchTarget(path, fields=f"metadata.name={name}")

        self.revisions = Informer(client, RELEASES, revision, changed)
        self._record = Informer(client, named(f"{_CORE}/configmaps", RECORD), facts.record, changed)
        self._config = Informer(client, named(f"{_CORE}/configmaps", "cilium-config"), facts.config, changed)
        self._agent_set = Informer(client, AGENT_SET, facts.agent_set, changed)
        self._operator = Informer(
            client, named(f"{_APPS}/deployments", "cilium-operator"), facts.cilium_operator, changed
        )
        self._namespace = Informer(client, named("/api/v1/namespaces", SECRETS_NAMESPACE), facts.terminating, changed)
        self._nodes = Informer(client, HYBRID_NODES, facts.hybrid_node, changed)
        others = WatchTarget("/api/v1/nodes", labels=f"{HYBRID_LABEL}!={HYBRID_VALUE}")
        self._cloud_nodes = Informer(client, others, facts.node_addresses, changed)
        self._service_cidrs = Informer(
            client, WatchTarget(_SERVICE_CIDRS), facts.service_cidrs, changed, _wait_for_an_upgrade
        )
        self._service = Informer(client, named(_SERVICES, "kubernetes"), facts.service_addresses, changed)
        self._foreign_pods = Informer(
            client, WatchTarget("/api/v1/pods", labels=OTHER_CNIS), facts.foreign_pod, changed
        )
        # One for all of them: each watch holds a connection, though nothing happens.
        apps = f"k8s-app in ({OF_THE_AGENTS},{OF_THE_CHECK},{OF_THE_VALIDATOR})"
        pods = WatchTarget(f"{_CORE}/pods", labels=apps)
        self._pods: Informer[AgentPod | UnplacedAgent | CheckPod] = Informer(
            client, pods, pod, changed, after=pod_after
        )
        placed = WatchTarget(f"{_CORE}/pods", labels=f"{facts.OF_AN_APP} in ({','.join(facts.WORKLOADS)})")
        self._other_pods = Informer(client, placed, facts.cilium_pod, changed, after=facts.cilium_pod_after)
        self.preflight = PreflightWatches(client, changed)
        # A field selector takes one name alone, and no other Secret's content is any business of the operator's.
        secrets = [named(f"{_CORE}/secrets", name) for name in CERTIFICATES]
        self._certificates = tuple(Informer(client, source, certificate, changed) for source in secrets)
        # Cilium's operator makes this kind at its first start; until then there is nothing to watch.
        definition = WatchTarget(_CRDS, fields="metadata.name=ciliumnodes.cilium.io", metadata_only=True)
        self._definition = Informer(client, definition, facts.terminating, lambda: None)
        own = WatchTarget(_CRDS, fields=f"metadata.name={OWN_DEFINITION}", metadata_only=True)
        self._own_definition = Informer(client, own, facts.terminating, changed)
        self._cilium_nodes = Informer(client, CILIUM_NODES, facts.cilium_node, changed, self._cilium_nodes_appear)

    def watches(self) -> list[Coroutine[Any, Any, None]]:
        """The watches and the writer of Events, to be run side by side for ever."""
        return [*(index.run() for index in self._informers()), self._events.run()]

    async def synced(self) -> None:
        """Return once every watch has listed what there is."""
        for index in self._informers():
            await index.synced.wait()

    async def defined(self) -> bool:
        """Return once the definition of CiliumHybrid is there, and whether it was at once.

        It comes again when deploy/ is applied again.
        """
        await self._own_definition.synced.wait()
        if OWN_DEFINITION in self._own_definition.facts:
            return True
        log.warning("there is no definition of CiliumHybrid: waiting for it")
        await self._own_definition.until(lambda facts: OWN_DEFINITION in facts, seconds=None)
        return False

    async def undefined(self) -> bool:
        """Whether the definition is gone, as the watch tells within a moment."""
        return await self._own_definition.until(lambda facts: OWN_DEFINITION not in facts, OWN_WRITE_SECONDS)

    async def _cilium_nodes_appear(self) -> None:
        await self._definition.until(bool, seconds=None)

    def _informers(self) -> tuple[Informer[Any], ...]:
        return (
            self.revisions,
            self._record,
            self._config,
            self._agent_set,
            self._operator,
            self._nodes,
            self._cloud_nodes,
            self._service_cidrs,
            self._service,
            self._foreign_pods,
            self._pods,
            self._other_pods,
            *self.preflight.informers(),
            *self._certificates,
            self._definition,
            self._own_definition,
            self._namespace,
            self._cilium_nodes,
        )

    def observe(self) -> Observation:
        """What the watches hold."""
        pods = [one for one in self._pods.facts.values() if isinstance(one, AgentPod)]
        checks = [one for one in self._pods.facts.values() if isinstance(one, CheckPod)]
        others = (self._cloud_nodes, self._service_cidrs, self._service)
        agent_set, operator = self._agent_set.facts.get("cilium"), self._operator.facts.get("cilium-operator")
        pool, config_version = self._config.facts.get("cilium-config", (None, ""))
        return Observation(
            revisions=in_order(self.revisions.facts),
            record=self._record.facts.get(RECORD),
            pool=pool,
            agent_set=agent_set,
            cilium_operator=operator,
            nodes=self._nodes.facts,
            agents=by_node(pods),
            unplaced=unplaced(self._pods.facts.values()),
            cilium_nodes=self._cilium_nodes.facts,
            taken=tuple(taken for index in others for found in index.facts.values() for taken in found),
            foreign_pods=tuple(self._foreign_pods.facts.values()),
            nodes_with_pods=frozenset(pod.node for pod in pods),
            secrets_namespace_terminating=self._namespace.facts.get(SECRETS_NAMESPACE, False),
            definition_terminating=self._own_definition.facts.get(OWN_DEFINITION, False),
            preflight=self.preflight.observe(checks),
            cloud_nodes=self._cloud_nodes.facts,
            other_pods=(*self._other_pods.facts.values(), *placed_pods(checks)),
            certificates=tuple(found for index in self._certificates for found in index.facts.values()),
            edits=(agent_set and agent_set.generation, operator and operator.generation, config_version),
        )

    async def lookups(self, lookup_request: LookupRequest) -> Lookups:
        """What is not watched, looked up now; ClusterUnavailableError."""
        return await lookups(self._client, lookup_request, self._nodes.facts)

    async def dry_run(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """What the API server would not take of these, a sentence each; nothing is changed; ClusterUnavailableError."""
        try:
            return await dry_run(self._client, manifests)
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot rehearse what is to be applied: {error}") from None

    async def differences(self, manifests: Sequence[Mapping[str, Any]]) -> Sequence[Difference]:
        """How the objects that are there differ from these; nothing is changed; ClusterUnavailableError."""
        try:
            return await differences(self._client, manifests)
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot compare what is released: {error}") from None

    async def resource(self) -> Resource | None:
        """The CiliumHybrid, read now; None where there is none."""
        try:
            raw = await self._client.get(_RESOURCE)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise ClusterUnavailableError(f"cannot read {KIND} {NAME}: {error}") from None
        return as_resource(raw)

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status of exactly this version of the resource."""
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
            if error.status in {NOT_FOUND, CONFLICT}:
                raise StaleError(f"{KIND} {NAME} changed while it was looked at") from None
            raise ClusterUnavailableError(f"cannot write the status of {KIND} {NAME}: {error}") from None

    def tell(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Tell people what changed, as Events."""
        self._events.tell(resource, status_events)

    async def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of exactly this version of the resource."""
        operations: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": resource.resource_version},
            {"op": "add", "path": "/metadata/finalizers", "value": list(finalizers)},
        ]
        try:
            await self._client.patch_json(_RESOURCE, operations)
        except ApiError as error:
            if error.status in {NOT_FOUND, CONFLICT, INVALID}:
                raise StaleError(f"{KIND} {NAME} changed while it was looked at") from None
            raise ClusterUnavailableError(f"cannot write the finalizer of {KIND} {NAME}: {error}") from None

    async def end_agents(self, pods: Sequence[str]) -> None:
        """Delete these pods of Cilium's agents, and wait until that is seen: none is ended twice."""
        for name in pods:
            try:
                await self._client.delete(f"{_CORE}/pods/{name}")
            except ApiError as error:
                if error.status != NOT_FOUND:
                    raise ClusterUnavailableError(f"cannot delete pod {name}: {error}") from None
        await self._pods.until(
            lambda seen: not any(name in seen and _stays(seen[name]) for name in pods), OWN_WRITE_SECONDS
        )

    async def write_record(self, record: Record) -> None:
        """Replace the record, and wait until it is seen."""
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": RECORD,
                "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/managed-by": "cilium-hybrid-operator"},
            },
            "data": facts.record_data(record),
        }
        try:
            await self._client.apply(f"{_CORE}/configmaps/{RECORD}", body, FIELD_MANAGER)
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot write ConfigMap {RECORD}: {error}") from None
        await self._record.until(lambda seen: seen.get(RECORD) == record, OWN_WRITE_SECONDS)


async def _wait_for_an_upgrade() -> None:
    """A control plane before Kubernetes 1.33 has no ServiceCIDR."""
    await asyncio.sleep(UNSERVED_SECONDS)


def in_order(revisions: Mapping[str, Revision]) -> tuple[Revision, ...]:
    """Revisions by number."""
    return tuple(sorted(revisions.values(), key=lambda revision: revision.number))


def by_node(pods: Iterable[AgentPod]) -> dict[str, AgentPod]:
    """The agent of each node; one on its way out counts no longer."""
    return {pod.node: pod for pod in pods if not pod.terminating}


def _stays(pod: AgentPod | UnplacedAgent | CheckPod) -> bool:
    # One that is on no node has no kubelet to wait for.
    return not isinstance(pod, UnplacedAgent) and not pod.terminating


def unplaced(pods: Iterable[object]) -> dict[str, str]:
    """By node, why the scheduler cannot place its agent."""
    return {pod.node: pod.cause for pod in pods if isinstance(pod, UnplacedAgent)}


def as_resource(raw: Mapping[str, Any]) -> Resource:
    """A CiliumHybrid."""
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
