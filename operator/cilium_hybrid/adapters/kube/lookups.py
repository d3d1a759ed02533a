"""Looked up once, before a change that depends on it: pods by address, peering policies, Helm's record of the pools."""

from collections.abc import AsyncIterator, Container, Iterator, Mapping
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.helm_secret import payload, released_pool, secret_name
from cilium_hybrid.adapters.kube.informer import NOT_FOUND, PAGE
from cilium_hybrid.plan.observation import Lookups, PoolConfig
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.ports import ClusterUnavailableError
from cilium_hybrid.rules.cluster import Taken

_PODS: Final = "/api/v1/pods"
_POLICIES: Final = "/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies"


async def lookups(client: KubeClient, lookup_request: LookupRequest, hybrid: Container[str]) -> Lookups:
    """Answer what is asked; ClusterUnavailableError."""
    try:
        pods = [pod async for pod in _pods(client, lookup_request, hybrid)] if lookup_request.networks else []
        policies = await _policies(client) if lookup_request.peering_policies else ()
        pool = await _pool(client, lookup_request.revision) if lookup_request.revision is not None else None
    except ApiError as error:
        raise ClusterUnavailableError(f"cannot look at the cluster before a change: {error}") from None
    return Lookups(tuple(pods), policies, pool)


async def _pods(client: KubeClient, lookup_request: LookupRequest, hybrid: Container[str]) -> AsyncIterator[Taken]:
    """Pods of their own address, off the hybrid nodes, inside the networks; page by page, for there may be many."""
    query = {"limit": str(PAGE), "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
    while True:
        page = await client.get(_PODS, query)
        for pod in page.get("items") or []:
            for taken in _addresses(pod, hybrid):
                if any(taken.first <= last and first <= taken.last for first, last in lookup_request.networks):
                    yield taken
        if not (more := page["metadata"].get("continue")):
            return
        query = {**query, "continue": more}


def _addresses(pod: Mapping[str, Any], hybrid: Container[str]) -> Iterator[Taken]:
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("hostNetwork") or spec.get("nodeName") in hybrid:
        return
    owner = f"the address of pod {metadata['namespace']}/{metadata['name']}"
    for entry in status.get("podIPs") or []:
        if (taken := Taken.of(owner, str(entry.get("ip")))) is not None:
            yield taken


async def _policies(client: KubeClient) -> tuple[str, ...]:
    try:
        listed = await client.get(_POLICIES)
    except ApiError as error:
        if error.status == NOT_FOUND:
            return ()
        raise
    return tuple(sorted(str(item["metadata"]["name"]) for item in listed.get("items") or []))


async def _pool(client: KubeClient, revision: int) -> PoolConfig | None:
    return released_pool(await client.get(_secret(revision)))


async def released_values(client: KubeClient, revision: int) -> Mapping[str, Any]:
    """The values that a revision was released with, empty where its record cannot be read; ClusterUnavailableError."""
    try:
        release = payload(await client.get(_secret(revision)))
    except ApiError as error:
        raise ClusterUnavailableError(f"cannot read Helm's record of revision {revision}: {error}") from None
    values = (release or {}).get("config")
    return values if isinstance(values, Mapping) else {}


def _secret(revision: int) -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret_name(revision)}"
