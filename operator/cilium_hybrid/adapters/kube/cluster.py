"""The Cluster port: observations from watches, fresh reads of the resource, and writes."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

from cilium_hybrid.adapters.kube import agent_pods, facts
from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.drift import differences
from cilium_hybrid.adapters.kube.dry_run import dry_run
from cilium_hybrid.adapters.kube.events import EventRecorder
from cilium_hybrid.adapters.kube.informer import Informer
from cilium_hybrid.adapters.kube.lookups import look_up
from cilium_hybrid.adapters.kube.node_leases import NodeLeases
from cilium_hybrid.adapters.kube.observe import observe
from cilium_hybrid.adapters.kube.preflight import PreflightWatches
from cilium_hybrid.adapters.kube.preflight_facts import CheckPod
from cilium_hybrid.adapters.kube.record import store
from cilium_hybrid.adapters.kube.resource import read, write_finalizers, write_status
from cilium_hybrid.adapters.kube.watch_state import WatchState
from cilium_hybrid.adapters.kube.watches import CRD_NAME, RECORD, RECORD_NAME, WATCHES, Watch
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import (
    AgentPod,
    Difference,
    Lookups,
    Observation,
    Revision,
    UnplacedAgent,
)
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.ports import ClusterUnavailableError, StaleError

log = logging.getLogger(__name__)

Fact = TypeVar("Fact")

NODE_CONFIGS_RETRY_SECONDS: Final = 60.0
"""How often the operator retries to watch CiliumNodeConfigs once Cilium's CRDs exist."""
UNSERVED_RETRY_SECONDS: Final = 600.0
"""How often the operator retries to watch ServiceCIDRs if the API server does not serve them."""
OWN_WRITE_SECONDS: Final = 10.0
"""How long a write waits until the watches show it."""


class KubeCluster:
    """The Cluster port over the Kubernetes API.

    `changed` is called after each change of an observed fact, and of what is known of the watches. `may_act`: whether
    this process holds the Lease.
    """

    def __init__(
        self, client: KubeClient, changed: Callable[[], None], may_act: Callable[[], bool] = lambda: True
    ) -> None:
        self._client, self._events, self._may_act = client, EventRecorder(client.post), may_act
        self._node_leases = NodeLeases(client)
        self._node_labels: Collection[str] | None = facts.DEFAULT_NODE_LABELS
        wait_until_served = {
            WATCHES.service_cidrs: _wait_for_cluster_upgrade,
            WATCHES.cilium_nodes: self._wait_for_cilium_nodes_crd,
            WATCHES.node_configs: self._wait_for_node_configs_crd,
        }
        self._informers: dict[Watch[Any], Informer[Any]] = {
            watch: Informer(
                client,
                watch.target,
                watch.to_fact,
                changed if watch.wakes else _ignore,
                wait_until_served.get(watch),
                watch.merge,
                WatchState(
                    watch.target.title,
                    required=watch.required,
                    changed=changed if watch.required else _ignore,
                    silence_seconds=watch.silence_seconds,
                ),
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
        """Return when every watch has listed its objects, or has failed to if no decision rests on it."""
        for informer in self._all_informers():
            await (informer.synced if informer.state.required else informer.listed).wait()

    def watch_states(self) -> Sequence[WatchState]:
        """Return which watches there are, and whether each is lost."""
        return [informer.state for informer in self._all_informers()]

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
        return observe(self._facts, self.preflight.observe, self._lost_watches())

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
        """Read the CiliumHybrid; None if there is none; ClusterUnavailableError.

        Each reconciliation starts here, so this waits for watches that were interrupted a moment ago.
        """
        for state in self._required_states():
            await state.wait_until_settled()
        return await read(self._client)

    async def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status of exactly this version of the resource; StaleError, ClusterUnavailableError."""
        self._require_lease()
        await write_status(self._client, resource, status)

    def record_events(self, resource: Resource, status_events: Sequence[StatusEvent]) -> None:
        """Queue Kubernetes Events; never blocks and never fails."""
        self._events.record(resource, status_events)

    async def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of exactly this version of the resource; StaleError, ClusterUnavailableError."""
        self._require_lease()
        await write_finalizers(self._client, resource, finalizers)

    async def delete_agent_pods(self, pods: Sequence[PodRef]) -> None:
        """Delete exactly these agent pods, and wait until the watch shows it, so that none is deleted twice.

        StaleError if another pod has the name of one; then those after it are not deleted. ClusterUnavailableError.
        """
        uids = {pod.name: pod.uid for pod in pods}
        for pod in pods:
            self._require_lease()
            self._require_watches()
            try:
                await agent_pods.delete_agent_pod(self._client, pod)
            except ApiError as error:
                raise ClusterUnavailableError(f"cannot delete pod {pod.name}: {error}") from None
        await self._informer(WATCHES.pods).wait_for(
            lambda found: not any(_runs_as(found.get(name), uid) for name, uid in uids.items()), OWN_WRITE_SECONDS
        )

    async def require_fresh(self, nodes: Collection[str]) -> None:
        """Read these nodes and their agent pods afresh; StaleError unless the watches show them as they are.

        ClusterUnavailableError.
        """
        for name in nodes:
            node, agents = self._facts(WATCHES.nodes).get(name), self._facts(WATCHES.pods)
            try:
                await agent_pods.require_fresh(self._client, name, node, agents)
            except ApiError as error:
                raise ClusterUnavailableError(f"cannot read node {name} and its agent: {error}") from None

    async def have_reported(self, nodes: Collection[tuple[str, str]]) -> bool:
        """Return whether all of these nodes have reported to the API server since the first call about them.

        With each node comes the UID of its agent pod: with another pod, or after a pause between two calls, it must
        report again. ClusterUnavailableError.
        """
        return await self._node_leases.renewed(nodes)

    async def dry_run_agent_pod(self) -> Sequence[str]:
        """Return why a pod of the present agent template would be rejected, a sentence each; ClusterUnavailableError.

        A quota counts only if it would also refuse the pod after one present agent is gone.
        """
        node = min(self._facts(WATCHES.nodes), default=None)
        try:
            return await agent_pods.dry_run_agent_pod(self._client, node)
        except ApiError as error:
            raise ClusterUnavailableError(f"server-side dry run of an agent pod failed: {error}") from None

    async def write_record(self, record: Record) -> None:
        """Replace the record if it is still the one that was read, and wait until the watch shows it.

        StaleError, ClusterUnavailableError.
        """
        observed, version = self._facts(WATCHES.record).get(RECORD_NAME, (None, ""))
        # An unreadable record was observed as none.
        before = record.resource_version or ("" if observed is not None else version)
        self._require_lease()
        try:
            await store(self._client, RECORD, record, before)
        except ApiError as error:
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise StaleError(f"ConfigMap {RECORD_NAME} has changed since it was read") from None
            raise ClusterUnavailableError(f"cannot write ConfigMap {RECORD_NAME}: {error}") from None
        await self._informer(WATCHES.record).wait_for(
            lambda records: records.get(RECORD_NAME, (None, before))[1] != before, OWN_WRITE_SECONDS
        )

    def _require_lease(self) -> None:
        """Raise StaleError if this process may no longer act; called right before each write."""
        if not self._may_act():
            raise StaleError("the Lease was not renewed in time")

    def _require_watches(self) -> None:
        """Raise StaleError if a watch was lost since the decision: with what it misses, another one may be due."""
        for lost in self._lost_watches():
            raise StaleError(lost)

    def _lost_watches(self) -> tuple[str, ...]:
        return tuple(str(state) for state in self._required_states() if state.loss is not None)

    def _required_states(self) -> Sequence[WatchState]:
        return [state for state in self.watch_states() if state.required]

    def _informer(self, watch: Watch[Fact]) -> Informer[Fact]:
        return cast("Informer[Fact]", self._informers[watch])

    def _facts(self, watch: Watch[Fact]) -> Mapping[str, Fact]:
        return self._informer(watch).facts

    def _all_informers(self) -> tuple[Informer[Any], ...]:
        return (*self._informers.values(), *self.preflight.informers())

    async def _wait_for_cilium_nodes_crd(self) -> None:
        await self._informer(WATCHES.cilium_nodes_crd).wait_for(bool, seconds=None)

    async def _wait_for_node_configs_crd(self) -> None:
        """The Cilium operator creates its CRDs within seconds, so the one that is watched stands for this one."""
        await self._wait_for_cilium_nodes_crd()
        await asyncio.sleep(NODE_CONFIGS_RETRY_SECONDS)


async def _wait_for_cluster_upgrade() -> None:
    """Control planes before Kubernetes 1.33 do not serve ServiceCIDRs."""
    await asyncio.sleep(UNSERVED_RETRY_SECONDS)


def _ignore() -> None:
    """Do nothing about a change."""


def _runs_as(pod: AgentPod | UnplacedAgent | CheckPod | None, uid: str) -> bool:
    # A pod without a node is deleted at once: no kubelet has to stop it.
    return isinstance(pod, AgentPod) and pod.uid == uid and not pod.terminating
