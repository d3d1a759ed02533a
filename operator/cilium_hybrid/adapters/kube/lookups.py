"""Facts that are too expensive to watch, read once before a change that depends on them.

These are the addresses of pods, BGP peering policies and the IPAM settings in Helm's storage.
"""

from collections.abc import AsyncIterator, Container, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.helm_secret import payload, released_pool, secret_name
from cilium_hybrid.adapters.kube.informer import PAGE_SIZE
from cilium_hybrid.plan.observation import Lookups, PoolConfig
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.ports import ClusterUnavailableError
from cilium_hybrid.rules.cluster import AddressRange

_PODS: Final = "/api/v1/pods"
_POLICIES: Final = "/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies"


async def look_up(client: KubeClient, request: LookupRequest, hybrid_nodes: Container[str]) -> Lookups:
    """Read what is requested; ClusterUnavailableError."""
    try:
        pods = [pod async for pod in _pods(client, request, hybrid_nodes)] if request.networks else []
        policies = await _policies(client) if request.peering_policies else ()
        pool = await _pool(client, request.revision) if request.revision is not None else None
    except ApiError as error:
        raise ClusterUnavailableError(f"cannot check the cluster before a change: {error}") from None
    return Lookups(tuple(pods), policies, pool)


async def _pods(
    client: KubeClient, request: LookupRequest, hybrid_nodes: Container[str]
) -> AsyncIterator[AddressRange]:
    """Return the addresses in the networks of pods that run on other nodes, page by page: there may be many pods."""
    query = {"limit": str(PAGE_SIZE), "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
    while True:
        page = await client.get(_PODS, query)
        for pod in page.get("items") or []:
            for address in _addresses(pod, hybrid_nodes):
                if any(address.first <= last and first <= address.last for first, last in request.networks):
                    yield address
        if not (more := page["metadata"].get("continue")):
            return
        query = {**query, "continue": more}


def _addresses(pod: Mapping[str, Any], hybrid_nodes: Container[str]) -> Iterator[AddressRange]:
    """Return the addresses of a pod; none if it uses those of its node or gets its address from Cilium."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("hostNetwork") or spec.get("nodeName") in hybrid_nodes:
        return
    owner = f"address of pod {metadata['namespace']}/{metadata['name']}"
    for entry in status.get("podIPs") or []:
        if (address := AddressRange.parse(owner, str(entry.get("ip")))) is not None:
            yield address


async def _policies(client: KubeClient) -> tuple[str, ...]:
    try:
        listed = await client.get(_POLICIES)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return ()
        raise
    return tuple(sorted(str(item["metadata"]["name"]) for item in listed.get("items") or []))


async def _pool(client: KubeClient, revision: int) -> PoolConfig | None:
    return released_pool(await client.get(_secret(revision)))


async def released_values(client: KubeClient, revision: int) -> Mapping[str, Any]:
    """Return the values of a revision, empty if its Secret cannot be decoded; ClusterUnavailableError."""
    try:
        release = payload(await client.get(_secret(revision)))
    except ApiError as error:
        raise ClusterUnavailableError(f"cannot read Helm revision {revision}: {error}") from None
    values = (release or {}).get("config")
    return values if isinstance(values, Mapping) else {}


def _secret(revision: int) -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret_name(revision)}"
