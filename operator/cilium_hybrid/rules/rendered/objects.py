"""Rules on each rendered object: it is an expected one, and its pods have no more access to the node than Cilium's.

Helm applies objects one by one, so the rules find what the API server would reject before the first is applied.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import (
    CILIUM_ALLOWLIST,
    CLUSTER_SCOPED,
    ENABLED_BY,
    KUBE_SYSTEM,
    NO_NODE_ACCESS,
    Allowlist,
    NodeAccess,
)
from cilium_hybrid.rules.rendered.reading import (
    Manifest,
    flatten_lists,
    kind_and_name,
    mapping_at,
    mappings_in,
    pod_specs,
)
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.text import format_value

_NOT_SET: Final = (None, False)


def objects_are_allowed(manifests: Sequence[Manifest], allowlist: Allowlist = CILIUM_ALLOWLIST) -> Iterator[Violation]:
    """The operator has no permission to create other objects, so the release would be applied only in part."""
    for manifest in flatten_lists(manifests):
        if not _is_allowed(manifest, allowlist):
            kind, name = manifest.get("kind"), mapping_at(manifest, ("metadata",)).get("name")
            value = ENABLED_BY.get(f"{kind} {name}") or ENABLED_BY.get(str(kind))
            yield Violation(
                Reason.RENDER_REFUSED,
                kind_and_name(manifest),
                "is not an object that the operator may create",
                f"remove the value that adds it{f', such as {value},' if value else ''} from spec.values",
            )


def pods_have_no_extra_node_access(
    manifests: Sequence[Manifest], allowlist: Allowlist = CILIUM_ALLOWLIST
) -> Iterator[Violation]:
    """Cilium's pods can already control much of their node; values must not give them or other containers more."""
    for manifest, pod in pod_specs(manifests):
        if not _is_allowed(manifest, allowlist):
            continue
        name = mapping_at(manifest, ("metadata",)).get("name")
        access = allowlist.node_access.get((str(manifest.get("kind")), str(name)), NO_NODE_ACCESS)
        for message in (*_host_namespaces(pod, access), *_host_paths(pod, access), *_containers(pod, access)):
            fix = "remove the value that adds it from spec.values"
            yield Violation(Reason.RENDER_REFUSED, kind_and_name(manifest), message, fix)


def _is_allowed(manifest: Manifest, allowlist: Allowlist) -> bool:
    metadata = mapping_at(manifest, ("metadata",))
    api, kind = str(manifest.get("apiVersion")), str(manifest.get("kind"))
    # Helm adds the release's namespace where none is set; a cluster-scoped object has none.
    default = CLUSTER_SCOPED if (api, kind, CLUSTER_SCOPED) in allowlist.objects else KUBE_SYSTEM
    names = allowlist.objects.get((api, kind, str(metadata.get("namespace") or default)), ())
    return str(metadata.get("name")) in names


def _host_namespaces(pod: Mapping[str, Any], access: NodeAccess) -> Iterator[str]:
    """Yield the namespaces that the pods share without need."""
    shared = ("hostIPC", "hostPID", "shareProcessNamespace") + (() if access.host_network else ("hostNetwork",))
    for key in shared:
        if pod.get(key) not in _NOT_SET:
            yield f"sets {key}, which Cilium does not need"


def _host_paths(pod: Mapping[str, Any], access: NodeAccess) -> Iterator[str]:
    for name, path in _host_path_volumes(pod):
        if path not in access.host_paths:
            yield f"has volume {name} with host path {format_value(path)}, which Cilium does not need"


def _containers(pod: Mapping[str, Any], access: NodeAccess) -> Iterator[str]:
    allowed_volumes = {name for name, path in _host_path_volumes(pod) if path in access.host_paths}
    for container in (*mappings_in(pod.get("initContainers")), *mappings_in(pod.get("containers"))):
        name, context = str(container.get("name")), mapping_at(container, ("securityContext",))
        if context.get("privileged") not in _NOT_SET and name not in access.privileged:
            yield f"runs container {name} privileged, which Cilium does not need"
        for capability in _added_capabilities(context):
            if capability not in access.containers.get(name, ()):
                yield f"adds capability {capability} to container {name}, which Cilium does not need"
        if name not in access.containers:
            mounted = {str(mount.get("name")) for mount in mappings_in(container.get("volumeMounts"))}
            for volume in sorted(mounted & allowed_volumes):
                yield f"mounts host path volume {volume} into container {name}, which is not a container of Cilium"


def _host_path_volumes(pod: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and path of each host path volume; the path is not normalized, so /proc/../etc is not allowed."""
    return [
        (str(volume.get("name")), str(mapping_at(volume, ("hostPath",)).get("path")))
        for volume in mappings_in(pod.get("volumes"))
        if volume.get("hostPath") is not None
    ]


def _added_capabilities(context: Mapping[str, Any]) -> list[str]:
    """Return the capabilities that a container adds; a value of another type counts as one."""
    added = mapping_at(context, ("capabilities",)).get("add")
    if added is None:
        return []
    return [str(capability) for capability in added] if isinstance(added, list) else [str(added)]
