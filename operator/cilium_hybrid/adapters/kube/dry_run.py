"""A rehearsal of an apply: every object by a server-side dry run, so that each policy of the cluster speaks up.

Helm's own `--dry-run=server` submits nothing (helm.sh/helm/v4, pkg/action), so no admission is asked by it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.informer import NOT_FOUND
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.ports import ClusterUnavailableError
from cilium_hybrid.rules.rendered.reading import one_by_one, title
from cilium_hybrid.rules.rule import one_line

FIELD_MANAGER: Final = "helm"
"""Whose fields they will be: a policy may look at it, and a conflict is no rejection."""

_COLLECTIONS: Final = {
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
_OF_THE_CLUSTER: Final = frozenset({"ClusterRole", "ClusterRoleBinding", "Namespace"})
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_INVALID: Final = 422
_MISSHAPEN: Final = re.compile(r"failed to (create typed patch|convert new) object")
_UNRESPONSIVE: Final = "does not support dry run"
"""A webhook with side effects is not asked in a dry run, and may well agree when it is."""


async def dry_run(client: KubeClient, manifests: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """What the API server would not take, a sentence each; ClusterUnavailableError.

    A kind that the operator does not know is left out, and so is what is to go into a namespace that is not there yet.
    """
    rejected = []
    for manifest in one_by_one(manifests):
        path = path_of(manifest)
        if path is None:
            continue
        try:
            await client.apply(path, manifest, FIELD_MANAGER, dry_run=True)
        except ApiError as error:
            if error.status in {_BAD_REQUEST, _FORBIDDEN, _INVALID} and _UNRESPONSIVE not in str(error):
                rejected.append(_rejected(manifest, error))
            elif error.status != NOT_FOUND and _UNRESPONSIVE not in str(error):
                raise
        except ClusterUnavailableError as error:
            # The API server calls it a fault of its own where an object is not of its kind's shape.
            if _MISSHAPEN.search(str(error)) is None:
                raise
            rejected.append(_rejected(manifest, error))
    return rejected


def _rejected(manifest: Mapping[str, Any], error: Exception) -> str:
    # What is wrong with a Secret may be told with what is in it.
    why = "it is not taken as it is" if manifest.get("kind") == "Secret" else str(error)
    return one_line(f"{title(manifest)}: {why}")


def path_of(manifest: Mapping[str, Any]) -> str | None:
    """Where an object is in the API; None of a kind that the operator does not know."""
    kind, metadata = str(manifest.get("kind")), manifest["metadata"]
    collection, version = _COLLECTIONS.get(kind), str(manifest.get("apiVersion"))
    if collection is None:
        return None
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    if kind in _OF_THE_CLUSTER:
        return f"{group}/{collection}/{metadata['name']}"
    return f"{group}/namespaces/{metadata.get('namespace') or NAMESPACE}/{collection}/{metadata['name']}"
