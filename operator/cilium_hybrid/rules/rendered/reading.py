"""How what the chart renders is read: the objects in lists, the pods in workloads, an odd shape as nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_POD_SPEC_PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "Deployment": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "Pod": ("spec",),
    "ReplicaSet": ("spec", "template", "spec"),
    "ReplicationController": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
}

Manifest = Mapping[str, Any]


def title(manifest: Manifest) -> str:
    """Kind, namespace where one is stated, and name."""
    metadata = dig(manifest, ("metadata",))
    namespace = metadata.get("namespace")
    return f"{manifest.get('kind')} {f'{namespace}/' if namespace else ''}{metadata.get('name')}"


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Mapping[str, Any]]]:
    """Every workload and the spec of its pods."""
    for manifest in one_by_one(manifests):
        keys = _POD_SPEC_PATHS.get(str(manifest.get("kind")))
        if keys is not None:
            yield manifest, dig(manifest, keys)


def one_by_one(manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """The objects themselves, those inside lists too."""
    for manifest in manifests:
        kind = str(manifest.get("kind"))
        if "items" in manifest:
            # Helm takes whatever has items for a list; and in a PodList the items need not say that they are pods.
            told = {"apiVersion": manifest.get("apiVersion"), "kind": kind.removesuffix("List")}
            yield from one_by_one([{**told, **item} for item in maps(manifest["items"])])
        if "items" not in manifest or not kind.endswith("List"):
            yield manifest


def maps(value: object) -> list[Mapping[str, Any]]:
    """The maps in a list; none in anything else, which the API server will not take."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def dig(manifest: Manifest, keys: Sequence[str]) -> Mapping[str, Any]:
    """The map at a path; an empty one where there is none."""
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
