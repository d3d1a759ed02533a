"""Watches of the resource and its hybrid nodes, for `cilium-hybrid status`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self

from cilium_hybrid.adapters.kube import facts, pod_facts
from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.informer import Informer, WatchTarget
from cilium_hybrid.adapters.kube.resource import to_resource
from cilium_hybrid.adapters.kube.watch_state import GRACE_SECONDS
from cilium_hybrid.adapters.kube.watches import AGENT_PODS, AGENT_SET, CILIUM_NODES, HYBRID_NODES
from cilium_hybrid.api.v1alpha1 import GROUP, KIND, NAME, PLURAL, VERSION
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.ports import ClusterUnavailableError, PortError

RESOURCES: Final = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
SYNC_SECONDS: Final = 30.0
"""Maximum time for the first list of everything that is watched."""
UNSERVED_RETRY_SECONDS: Final = 5.0
"""How often a watch is retried if the API server does not serve its kind."""

_RESOURCE: Final = WatchTarget(RESOURCES, fields=f"metadata.name={NAME}")
_NODE_TARGETS: Final = (HYBRID_NODES, AGENT_PODS, CILIUM_NODES, AGENT_SET)


class ResourceNotFoundError(PortError):
    """The cluster has no CiliumHybrid, or no CRD of it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The resource and its nodes at one moment. `observation` holds only the facts about nodes and their agents.

    `observation` is None if the user may not read those facts, and `forbidden` is the API server's message.
    `stale_reason` says why the snapshot may be out of date, and is empty if it is not.
    """

    resource: Resource
    observation: Observation | None = None
    forbidden: str = ""
    stale_reason: str = ""


class StatusWatch:
    """Watches the resource and, if the user may read them (`forbidden` is empty), the facts about its nodes."""

    def __init__(self, client: KubeClient, changed: Callable[[], None], forbidden: str) -> None:
        self._forbidden = forbidden
        self._resource = Informer(client, _RESOURCE, to_resource, changed, _retry_later)
        self._nodes = Informer(client, HYBRID_NODES, facts.hybrid_node, changed, merge=facts.merge_node)
        self._agents = Informer(client, AGENT_PODS, pod_facts.agent_pod, changed, merge=pod_facts.merge_agent)
        self._agent_set = Informer(client, AGENT_SET, facts.agent_set, changed)
        self._cilium_nodes = Informer(client, CILIUM_NODES, facts.cilium_node, changed, _retry_later)

    @classmethod
    @asynccontextmanager
    async def open(cls, kubeconfig: str | None, changed: Callable[[], None]) -> AsyncIterator[Self]:
        """Watch until exit; entered when everything was listed; ResourceNotFoundError, ClusterUnavailableError."""
        client = await KubeClient.connect(kubeconfig)
        tasks: list[asyncio.Future[None]] = []
        try:
            await get_raw_resource(client)
            status_watch = cls(client, changed, await _forbidden_message(client))
            tasks += [asyncio.ensure_future(informer.run()) for informer in status_watch._informers()]
            await status_watch._wait_until_synced()
            yield status_watch
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()

    def snapshot(self) -> Snapshot:
        """Return what the watches last saw; ResourceNotFoundError if the resource was deleted."""
        resource, observation = self._resource.facts.get(NAME), None
        if resource is None:
            raise ResourceNotFoundError(f"{KIND} {NAME} was deleted")
        if not self._forbidden:
            observation = Observation(
                agent_set=self._agent_set.facts.get("cilium"),
                nodes=self._nodes.facts,
                agents=pod_facts.agents_by_node(self._agents.facts.values()),
                unplaced=pod_facts.unplaced_agents(self._agents.facts.values()),
                cilium_nodes=self._cilium_nodes.facts,
            )
        return Snapshot(resource, observation, self._forbidden, self._first_error())

    def _first_error(self) -> str:
        # A user may be allowed to list but not to watch: then the first list is up to date when it is shown.
        lost = (informer.state for informer in self._informers() if informer.state.lost_for >= GRACE_SECONDS)
        return next((state.loss.cause for state in lost if state.loss is not None), "")

    async def _wait_until_synced(self) -> None:
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                for informer in self._informers():
                    await informer.synced.wait()
        except TimeoutError:
            cause = self._first_error() or "the API server is slow"
            raise ClusterUnavailableError(f"cannot list the nodes within {SYNC_SECONDS:g} s: {cause}") from None

    def _informers(self) -> tuple[Informer[Any], ...]:
        if self._forbidden:
            return (self._resource,)
        return self._resource, self._nodes, self._agents, self._agent_set, self._cilium_nodes


async def _retry_later() -> None:
    await asyncio.sleep(UNSERVED_RETRY_SECONDS)


async def get_raw_resource(client: KubeClient) -> Mapping[str, Any]:
    """Return the raw CiliumHybrid, without waiting for it; ResourceNotFoundError, ClusterUnavailableError."""
    try:
        listed = await client.get(_RESOURCE.path, _RESOURCE.query())
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise ResourceNotFoundError(
                f"the cluster does not have the {KIND} CRD; install the operator first"
            ) from None
        raise ClusterUnavailableError(f"cannot read {KIND} {NAME}: {error}") from None
    for raw in listed.get("items") or []:
        found: Mapping[str, Any] = raw
        return found
    raise ResourceNotFoundError(f"the cluster has no {KIND} {NAME}; apply a manifest first")


async def _forbidden_message(client: KubeClient) -> str:
    """Return the API server's message if the user may not read the facts about nodes; empty if allowed."""
    for target in _NODE_TARGETS:
        try:
            await client.get(target.path, target.query(limit="1"))
        except ApiError as error:
            if error.status == HTTPStatus.FORBIDDEN:
                return str(error)
            if error.status != HTTPStatus.NOT_FOUND:
                raise ClusterUnavailableError(f"cannot read {target.path}: {error}") from None
    return ""
