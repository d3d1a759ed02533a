"""Reads and writes of the CiliumHybrid, each of exactly one version of it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.api.v1alpha1 import APPROVE, GROUP, KIND, NAME, PLURAL, RECONCILE, VERSION
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.ports import ClusterUnavailableError, StaleError

_RESOURCE: Final = f"/apis/{GROUP}/{VERSION}/{PLURAL}/{NAME}"


async def read(client: KubeClient) -> Resource | None:
    """Read the CiliumHybrid; None if there is none; ClusterUnavailableError."""
    try:
        raw = await client.get(_RESOURCE)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise ClusterUnavailableError(f"cannot read {KIND} {NAME}: {error}") from None
    return to_resource(raw)


async def write_status(client: KubeClient, resource: Resource, status: Mapping[str, Any]) -> None:
    """Replace the status of exactly this version of the resource; StaleError, ClusterUnavailableError."""
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": NAME, "resourceVersion": resource.resource_version},
        "spec": resource.spec,
        "status": status,
    }
    try:
        await client.put(f"{_RESOURCE}/status", body)
    except ApiError as error:
        if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
            raise StaleError(f"{KIND} {NAME} has changed since it was read") from None
        raise ClusterUnavailableError(f"cannot write the status of {KIND} {NAME}: {error}") from None


async def write_finalizers(client: KubeClient, resource: Resource, finalizers: Sequence[str]) -> None:
    """Replace the finalizers of exactly this version of the resource; StaleError, ClusterUnavailableError."""
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": resource.resource_version},
        {"op": "add", "path": "/metadata/finalizers", "value": list(finalizers)},
    ]
    try:
        await client.patch_json(_RESOURCE, operations)
    except ApiError as error:
        if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise StaleError(f"{KIND} {NAME} has changed since it was read") from None
        raise ClusterUnavailableError(f"cannot write the finalizers of {KIND} {NAME}: {error}") from None


def to_resource(raw: Mapping[str, Any]) -> Resource:
    """Return the CiliumHybrid of a raw object."""
    metadata = raw["metadata"]
    annotations = metadata.get("annotations") or {}
    return Resource(
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        spec=raw.get("spec") or {},
        status=raw.get("status") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleting="deletionTimestamp" in metadata,
        approved=annotations.get(APPROVE),
        requested=str(annotations.get(RECONCILE, "")),
        uid=metadata["uid"],
    )
