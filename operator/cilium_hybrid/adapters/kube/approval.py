"""The annotation by which a person approves a plan: read with the plan, and written for that very plan alone."""

from dataclasses import dataclass
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.cluster import INVALID, as_resource
from cilium_hybrid.adapters.kube.informer import NOT_FOUND
from cilium_hybrid.adapters.kube.status_watch import RESOURCES, find
from cilium_hybrid.api.v1alpha1 import APPROVE, KIND, NAME
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.ports import ClusterUnavailableError, StaleError

_ANNOTATIONS: Final = "/metadata/annotations"
_APPROVE: Final = f"{_ANNOTATIONS}/{APPROVE.replace('/', '~1')}"


@dataclass(frozen=True, slots=True)
class Asked:
    """The resource; `annotated`: whether it has annotations at all."""

    resource: Resource
    annotated: bool


async def read_asked(kubeconfig: str | None) -> Asked:
    """What is to be approved, read now; NothingToSeeError, ClusterUnavailableError."""
    client = await KubeClient.connect(kubeconfig)
    try:
        raw = await find(client)
    finally:
        await client.close()
    return Asked(as_resource(raw), annotated=bool(raw["metadata"].get("annotations")))


async def write_approval(kubeconfig: str | None, asked: Asked, digest: str) -> None:
    """Approve this plan of this generation and no other; StaleError, ClusterUnavailableError."""
    client = await KubeClient.connect(kubeconfig)
    try:
        await client.patch_json(f"{RESOURCES}/{NAME}", _operations(asked, digest))
    except ApiError as error:
        if error.status in {NOT_FOUND, INVALID}:
            raise StaleError(f"{KIND} {NAME} changed while it was looked at") from None
        raise ClusterUnavailableError(f"cannot annotate {KIND} {NAME}: {error}") from None
    finally:
        await client.close()


def _operations(asked: Asked, digest: str) -> list[dict[str, Any]]:
    """Nothing but the plan is tested: a node that turns Ready meanwhile is no reason to ask a person again."""
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/generation", "value": asked.resource.generation},
        {"op": "test", "path": "/status/planDigest", "value": digest},
    ]
    if not asked.annotated:
        # JSON patch adds to what is there only; and what somebody else added meanwhile is not to be lost.
        operations.append({"op": "test", "path": _ANNOTATIONS, "value": None})
        operations.append({"op": "add", "path": _ANNOTATIONS, "value": {}})
    return [*operations, {"op": "add", "path": _APPROVE, "value": digest}]
