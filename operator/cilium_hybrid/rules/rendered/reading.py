"""Helpers to read rendered manifests: objects in lists, pod specs of workloads; unexpected types count as empty."""

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


def kind_and_name(manifest: Manifest) -> str:
    """Return the kind and the name, with the namespace if there is one, such as `DaemonSet kube-system/cilium`."""
    metadata = mapping_at(manifest, ("metadata",))
    namespace = metadata.get("namespace")
    return f"{manifest.get('kind')} {f'{namespace}/' if namespace else ''}{metadata.get('name')}"


def pod_specs(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Mapping[str, Any]]]:
    """Yield every workload with the spec of its pods."""
    for manifest in flatten_lists(manifests):
        keys = _POD_SPEC_PATHS.get(str(manifest.get("kind")))
        if keys is not None:
            yield manifest, mapping_at(manifest, keys)


def flatten_lists(manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """Yield the objects, including those inside lists."""
    for manifest in manifests:
        kind = str(manifest.get("kind"))
        if "items" in manifest:
            # Helm treats everything with items as a list, and the items of a PodList may omit their kind.
            defaults = {"apiVersion": manifest.get("apiVersion"), "kind": kind.removesuffix("List")}
            yield from flatten_lists([{**defaults, **item} for item in mappings_in(manifest["items"])])
        if "items" not in manifest or not kind.endswith("List"):
            yield manifest


def mappings_in(value: object) -> list[Mapping[str, Any]]:
    """Return the mappings in a list; none for anything else, which the API server would reject."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def mapping_at(manifest: Manifest, keys: Sequence[str]) -> Mapping[str, Any]:
    """Return the mapping at a path; an empty one if there is none."""
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
