"""Server-side dry runs of manifests, so that admission policies reject them before anything changes.

Helm's own `--dry-run=server` submits nothing (helm.sh/helm/v4, pkg/action), so no admission policy is evaluated.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.ports import ClusterUnavailableError
from cilium_hybrid.rules.rendered.reading import flatten_lists, kind_and_name
from cilium_hybrid.rules.rule import one_line

FIELD_MANAGER: Final = "helm"
"""Helm's own field manager: a policy may depend on it, and no field that Helm owns conflicts."""

_PLURALS: Final = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "Namespace": "namespaces",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
}
_CLUSTER_SCOPED: Final = frozenset({"ClusterRole", "ClusterRoleBinding", "Namespace"})
_REJECTIONS: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY})
_WRONG_TYPE: Final = re.compile(r"failed to (create typed patch|convert new) object")
_NO_DRY_RUN: Final = "does not support dry run"
"""The API server does not call a webhook with side effects in a dry run; the webhook may accept the real request."""


async def dry_run(client: KubeClient, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Return what the API server would reject, a sentence for each object; ApiError, ClusterUnavailableError.

    Objects of kinds that the chart does not use, and objects in namespaces that do not exist yet, are skipped.
    """
    rejected = []
    for manifest in flatten_lists(manifests):
        path = object_path(manifest)
        if path is None:
            continue
        cause = await refusal(partial(client.apply, path, manifest, FIELD_MANAGER, dry_run=True))
        if cause:
            rejected.append(_rejection(manifest, cause))
    return rejected


async def refusal(request: Callable[[], Awaitable[Any]]) -> str:
    """Send a dry run and return why the API server rejects it; empty if it accepts it or cannot tell.

    ApiError, ClusterUnavailableError.
    """
    try:
        await request()
    except ApiError as error:
        if error.status in _REJECTIONS and _NO_DRY_RUN not in str(error):
            return str(error)
        if error.status != HTTPStatus.NOT_FOUND and _NO_DRY_RUN not in str(error):
            raise
    except ClusterUnavailableError as error:
        # The API server answers 500 if a field has the wrong type.
        if _WRONG_TYPE.search(str(error)) is None:
            raise
        return str(error)
    return ""


def _rejection(manifest: Mapping[str, Any], cause: str) -> str:
    # The error may quote the content of the Secret.
    shown = "the API server rejects this Secret" if manifest.get("kind") == "Secret" else cause
    return one_line(f"{kind_and_name(manifest)}: {shown}")


def object_path(manifest: Mapping[str, Any]) -> str | None:
    """Return the API path of an object; None for a kind that the chart does not use."""
    kind, metadata = str(manifest.get("kind")), manifest["metadata"]
    plural, version = _PLURALS.get(kind), str(manifest.get("apiVersion"))
    if plural is None:
        return None
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    if kind in _CLUSTER_SCOPED:
        return f"{group}/{plural}/{metadata['name']}"
    return f"{group}/namespaces/{metadata.get('namespace') or NAMESPACE}/{plural}/{metadata['name']}"
