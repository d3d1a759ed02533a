"""What a person looks at: the resource and its hybrid nodes, kept by watches like those of the operator."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from cilium_hybrid.adapters.kube import facts
from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.cluster import (
    AGENT_SET,
    AGENTS,
    CILIUM_NODES,
    HYBRID_NODES,
    as_resource,
    by_node,
    unplaced,
)
from cilium_hybrid.adapters.kube.informer import NOT_FOUND, Informer, WatchTarget
from cilium_hybrid.api.v1alpha1 import GROUP, KIND, NAME, PLURAL, VERSION
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import AgentPod, Observation
from cilium_hybrid.ports import ClusterUnavailableError, PortError

RESOURCES: Final = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
LONGEST_LOOK: Final = 30.0
"""Seconds that the lists of all nodes may take."""
UNSERVED_SECONDS: Final = 5.0
"""How often a kind is looked for that is not served yet, or no longer."""
FORBIDDEN: Final = 403

_RESOURCE: Final = WatchTarget(RESOURCES, fields=f"metadata.name={NAME}")
_OF_NODES: Final = (HYBRID_NODES, AGENTS, CILIUM_NODES, AGENT_SET)


class NothingToSeeError(PortError):
    """The cluster has no CiliumHybrid, or does not know the kind."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cluster at one moment. `observation` holds nodes and their agents alone.

    It is None where this user may not read them, and `forbidden` says which. `lost`: why what is seen may be old.
    """

    resource: Resource
    observation: Observation | None = None
    forbidden: str = ""
    lost: str = ""


class StatusWatch:
    """Watches the resource and, unless that is `forbidden`, what its nodes are judged by."""

    def __init__(self, client: KubeClient, changed: Callable[[], None], forbidden: str) -> None:
        self._forbidden = forbidden
        self._resource = Informer(client, _RESOURCE, as_resource, changed, _later)
        self._nodes = Informer(client, HYBRID_NODES, facts.hybrid_node, changed)
        self._agents = Informer(client, AGENTS, facts.agent_pod, changed, after=facts.agent_after)
        self._agent_set = Informer(client, AGENT_SET, facts.agent_set, changed)
        self._cilium_nodes = Informer(client, CILIUM_NODES, facts.cilium_node, changed, _later)

    @classmethod
    @asynccontextmanager
    async def look(cls, kubeconfig: str | None, changed: Callable[[], None]) -> AsyncIterator[Self]:
        """Look on, from the moment that everything was seen once; NothingToSeeError, ClusterUnavailableError."""
        client = await KubeClient.connect(kubeconfig)
        watches: list[asyncio.Future[None]] = []
        try:
            await find(client)
            watching = cls(client, changed, await _refusal(client))
            watches += [asyncio.ensure_future(index.run()) for index in watching._informers()]
            await watching._synced()
            yield watching
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await client.close()

    def snapshot(self) -> Snapshot:
        """What the watches hold; NothingToSeeError where the resource went away."""
        resource, observation = self._resource.facts.get(NAME), None
        if resource is None:
            raise NothingToSeeError(f"{KIND} {NAME} is not there any more")
        if not self._forbidden:
            observation = Observation(
                agent_set=self._agent_set.facts.get("cilium"),
                nodes=self._nodes.facts,
                agents=by_node(pod for pod in self._agents.facts.values() if isinstance(pod, AgentPod)),
                unplaced=unplaced(self._agents.facts.values()),
                cilium_nodes=self._cilium_nodes.facts,
            )
        return Snapshot(resource, observation, self._forbidden, self._lost())

    def _lost(self) -> str:
        return next((index.lost for index in self._informers() if index.lost), "")

    async def _synced(self) -> None:
        try:
            async with asyncio.timeout(LONGEST_LOOK):
                for index in self._informers():
                    await index.synced.wait()
        except TimeoutError:
            why = self._lost() or "the lists take longer"
            raise ClusterUnavailableError(f"the nodes could not be seen within {LONGEST_LOOK:g} s: {why}") from None

    def _informers(self) -> tuple[Informer[Any], ...]:
        if self._forbidden:
            return (self._resource,)
        return self._resource, self._nodes, self._agents, self._agent_set, self._cilium_nodes


async def _later() -> None:
    await asyncio.sleep(UNSERVED_SECONDS)


async def find(client: KubeClient) -> Mapping[str, Any]:
    """The resource, raw. Fails at once where a watch would wait; NothingToSeeError, ClusterUnavailableError."""
    try:
        listed = await client.get(_RESOURCE.path, _RESOURCE.query())
    except ApiError as error:
        if error.status == NOT_FOUND:
            raise NothingToSeeError(f"this cluster does not know {KIND}: install the operator first") from None
        raise ClusterUnavailableError(f"cannot read {KIND} {NAME}: {error}") from None
    for raw in listed.get("items") or []:
        found: Mapping[str, Any] = raw
        return found
    raise NothingToSeeError(f"this cluster has no {KIND} {NAME}: apply a manifest of one first")


async def _refusal(client: KubeClient) -> str:
    """What this user may not read of that which nodes are judged by; empty where all may be read."""
    for source in _OF_NODES:
        try:
            await client.get(source.path, source.query(limit="1"))
        except ApiError as error:
            if error.status == FORBIDDEN:
                return str(error)
            if error.status != NOT_FOUND:
                raise ClusterUnavailableError(f"cannot read {source.path}: {error}") from None
    return ""
