"""Rules on each object that the chart renders: it is a known one, and its pods leave the node to Cilium.

Helm applies object by object: what the API server would forbid is found here, before the first of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import (
    ADDED_BY,
    CILIUM_ALLOWLIST,
    CLUSTER,
    KUBE_SYSTEM,
    NOTHING,
    Allowlist,
    NodeAccess,
)
from cilium_hybrid.rules.rendered.reading import Manifest, dig, maps, one_by_one, pods, title
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.schema_errors import shown

_OFF: Final = (None, False)


def only_known_objects_are_made(
    manifests: Sequence[Manifest], known: Allowlist = CILIUM_ALLOWLIST
) -> Iterator[Violation]:
    """The operator has no right to make any other: the release would be half applied."""
    for manifest in one_by_one(manifests):
        if not _is_known(manifest, known):
            kind, name = manifest.get("kind"), dig(manifest, ("metadata",)).get("name")
            value = ADDED_BY.get(f"{kind} {name}") or ADDED_BY.get(str(kind))
            yield Violation(
                Reason.RENDER_REFUSED,
                title(manifest),
                "is none of the objects that the operator knows and may make",
                f"take out what adds it{f', such as {value},' if value else ''} from spec.values",
            )


def pods_reach_into_the_node_as_ciliums_do(
    manifests: Sequence[Manifest], known: Allowlist = CILIUM_ALLOWLIST
) -> Iterator[Violation]:
    """A known workload is near the whole node: nothing may be added to its pods that takes hold of more."""
    for manifest, pod in pods(manifests):
        if not _is_known(manifest, known):
            continue
        name = dig(manifest, ("metadata",)).get("name")
        reach = known.reaches.get((str(manifest.get("kind")), str(name)), NOTHING)
        for message in (*_namespaces(pod, reach), *_volumes(pod, reach), *_containers(pod, reach)):
            yield Violation(Reason.RENDER_REFUSED, title(manifest), message, "take out what adds it from spec.values")


def _is_known(manifest: Manifest, known: Allowlist) -> bool:
    metadata, api, kind = dig(manifest, ("metadata",)), str(manifest.get("apiVersion")), str(manifest.get("kind"))
    # Helm puts what names no namespace into the release's; a cluster-wide object is in none.
    at_home = CLUSTER if (api, kind, CLUSTER) in known.objects else KUBE_SYSTEM
    names = known.objects.get((api, kind, str(metadata.get("namespace") or at_home)), ())
    return str(metadata.get("name")) in names


def _namespaces(pod: Mapping[str, Any], reach: NodeAccess) -> Iterator[str]:
    """What of the node's own namespaces the pods share."""
    shared = ("hostIPC", "hostPID", "shareProcessNamespace") + (() if reach.host_network else ("hostNetwork",))
    for key in shared:
        if pod.get(key) not in _OFF:
            yield f"sets {key}, and Cilium's own does not"


def _volumes(pod: Mapping[str, Any], reach: NodeAccess) -> Iterator[str]:
    for name, path in _of_the_node(pod):
        if path not in reach.host_paths:
            yield f"has volume {name} at {shown(path)} of the node, which is no path of Cilium's own"


def _containers(pod: Mapping[str, Any], reach: NodeAccess) -> Iterator[str]:
    ciliums = {name for name, path in _of_the_node(pod) if path in reach.host_paths}
    for container in (*maps(pod.get("initContainers")), *maps(pod.get("containers"))):
        name, context = str(container.get("name")), dig(container, ("securityContext",))
        if context.get("privileged") not in _OFF and name not in reach.privileged:
            yield f"has container {name} privileged, and Cilium's own is not"
        for capability in _added(context):
            if capability not in reach.containers.get(name, ()):
                yield f"has container {name} with capability {capability}, and Cilium's own does not add it"
        if name not in reach.containers:
            mounted = {str(mount.get("name")) for mount in maps(container.get("volumeMounts"))}
            for volume in sorted(mounted & ciliums):
                yield f"has container {name} with volume {volume} of the node, which is for Cilium's own alone"


def _of_the_node(pod: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and path of each volume on the node; the path as it is written: /proc/../etc is none of Cilium's."""
    return [
        (str(volume.get("name")), str(dig(volume, ("hostPath",)).get("path")))
        for volume in maps(pod.get("volumes"))
        if volume.get("hostPath") is not None
    ]


def _added(context: Mapping[str, Any]) -> list[str]:
    """The capabilities that a container adds; what is no list is one of an odd name."""
    added = dig(context, ("capabilities",)).get("add")
    if added is None:
        return []
    return [str(one) for one in added] if isinstance(added, list) else [str(added)]
