"""Facts that are too expensive to watch, read once before a change that depends on them.

These are the addresses of pods and BGP peering policies.
"""

from collections.abc import AsyncIterator, Container, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.helm_secret import payload, release_payload, secret_name
from cilium_hybrid.adapters.kube.informer import PAGE_SIZE
from cilium_hybrid.plan.observation import Lookups, ReleasePayload
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.ports import ClusterUnavailableError
from cilium_hybrid.rules.cluster_facts import AddressRange

_PODS: Final = "/api/v1/pods"
_POLICIES: Final = "/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies"


async def look_up(client: KubeClient, request: LookupRequest, hybrid_nodes: Container[str]) -> Lookups:
    """Read what is requested; ClusterUnavailableError."""
    try:
        pods = [pod async for pod in _pods(client, request, hybrid_nodes)] if request.networks else []
        policies = await _policies(client) if request.peering_policies else ()
    except ApiError as error:
        raise ClusterUnavailableError(f"cannot check the cluster before a change: {error}") from None
    return Lookups(tuple(pods), policies)


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


async def read_payload(client: KubeClient, revision: int) -> ReleasePayload:
    """Return what decisions need of a revision's payload; ClusterUnavailableError."""
    return release_payload(await _read_secret(client, revision))


async def released_values(client: KubeClient, revision: int) -> Mapping[str, Any]:
    """Return the values of a revision, empty if its Secret cannot be decoded; ClusterUnavailableError."""
    values = (payload(await _read_secret(client, revision)) or {}).get("config")
    return values if isinstance(values, Mapping) else {}


async def _read_secret(client: KubeClient, revision: int) -> Mapping[str, Any]:
    try:
        secret: Mapping[str, Any] = await client.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret_name(revision)}")
    except ApiError as error:
        raise ClusterUnavailableError(f"cannot read Helm revision {revision}: {error}") from None
    return secret
