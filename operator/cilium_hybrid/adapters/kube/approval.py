"""Read and write the annotation that approves a plan."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.resource import to_resource
from cilium_hybrid.adapters.kube.status_watch import RESOURCES, get_raw_resource
from cilium_hybrid.api.v1alpha1 import APPROVE, KIND, NAME
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.ports import ClusterUnavailableError, StaleError

_ANNOTATIONS: Final = "/metadata/annotations"
_APPROVE: Final = f"{_ANNOTATIONS}/{APPROVE.replace('/', '~1')}"


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """The resource whose plan may await approval; `annotated`: whether it has any annotation."""

    resource: Resource
    annotated: bool


async def read_approval_request(kubeconfig: str | None) -> ApprovalRequest:
    """Read the resource; ResourceNotFoundError, ClusterUnavailableError."""
    client = await KubeClient.connect(kubeconfig)
    try:
        raw = await get_raw_resource(client)
    finally:
        await client.close()
    return ApprovalRequest(to_resource(raw), annotated=bool(raw["metadata"].get("annotations")))


async def write_approval(kubeconfig: str | None, request: ApprovalRequest, digest: str) -> None:
    """Approve exactly this plan of this generation; StaleError, ClusterUnavailableError."""
    client = await KubeClient.connect(kubeconfig)
    try:
        await client.patch_json(f"{RESOURCES}/{NAME}", _operations(request, digest))
    except ApiError as error:
        if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise StaleError(f"{KIND} {NAME} has changed since it was read") from None
        raise ClusterUnavailableError(f"cannot annotate {KIND} {NAME}: {error}") from None
    finally:
        await client.close()


def _operations(request: ApprovalRequest, digest: str) -> list[dict[str, Any]]:
    """Return the JSON patch. It tests only the plan: other changes of the status need no second confirmation."""
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/generation", "value": request.resource.generation},
        {"op": "test", "path": "/status/planDigest", "value": digest},
    ]
    if not request.annotated:
        # JSON patch cannot add to a missing map; the test keeps annotations that other clients added meanwhile.
        operations.append({"op": "test", "path": _ANNOTATIONS, "value": None})
        operations.append({"op": "add", "path": _ANNOTATIONS, "value": {}})
    return [*operations, {"op": "add", "path": _APPROVE, "value": digest}]
