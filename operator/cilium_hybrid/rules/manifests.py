"""Rules on what the chart renders: nothing on a cloud node changes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rule import Rule, Violation

HYBRID_LABEL: Final = "eks.amazonaws.com/compute-type"
HYBRID_VALUE: Final = "hybrid"
FOREIGN_NAMES: Final = ("aws-node", "kube-proxy")

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


def _path(manifest: Manifest) -> str:
    return f"{manifest.get('kind')} {_dig(manifest, ('metadata',)).get('name')}"


def workloads_stay_on_hybrid_nodes(manifests: Sequence[Manifest]) -> Iterator[Violation]:
    """A workload without the hybrid affinity would start on cloud nodes, beside their own CNI."""
    for manifest in _one_by_one(manifests):
        keys = _POD_SPEC_PATHS.get(str(manifest.get("kind")))
        if keys is not None and not _only_hybrid(_dig(manifest, keys)):
            yield Violation(
                Reason.RENDER_REFUSED,
                _path(manifest),
                f"has no required affinity to {HYBRID_LABEL}={HYBRID_VALUE}, so it would run on cloud nodes: "
                "take out what adds it from spec.values",
            )


def objects_of_the_cloud_half_are_left_alone(manifests: Sequence[Manifest]) -> Iterator[Violation]:
    """aws-node and kube-proxy carry the cloud nodes."""
    for manifest in _one_by_one(manifests):
        if _dig(manifest, ("metadata",)).get("name") in FOREIGN_NAMES:
            yield Violation(
                Reason.RENDER_REFUSED,
                _path(manifest),
                "belongs to the cloud nodes: this chart is not Cilium's",
            )


def _one_by_one(manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """The objects themselves, those inside lists too."""
    for manifest in manifests:
        kind = str(manifest.get("kind"))
        if kind.endswith("List") and "items" in manifest:
            # In a PodList the items need not say that they are pods.
            yield from _one_by_one([{"kind": kind.removesuffix("List"), **item} for item in _maps(manifest["items"])])
        else:
            yield manifest


def _maps(value: object) -> list[Mapping[str, Any]]:
    """The maps in a list; none in anything else, which the API server will not take."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _dig(manifest: Manifest, keys: Sequence[str]) -> Mapping[str, Any]:
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _only_hybrid(pod: Mapping[str, Any]) -> bool:
    if _dig(pod, ("nodeSelector",)).get(HYBRID_LABEL) == HYBRID_VALUE:
        return True
    required = _dig(pod, ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"))
    stated = required.get("nodeSelectorTerms")
    terms = _maps(stated)
    # Terms are alternatives: one without the label is enough for a cloud node.
    return (
        bool(terms)
        and terms == stated
        and all(
            any(
                expression.get("key") == HYBRID_LABEL
                and expression.get("operator") == "In"
                and expression.get("values") == [HYBRID_VALUE]
                for expression in _maps(term.get("matchExpressions"))
            )
            for term in terms
        )
    )


MANIFEST_RULES: Final[tuple[Rule[Sequence[Manifest]], ...]] = (
    workloads_stay_on_hybrid_nodes,
    objects_of_the_cloud_half_are_left_alone,
)
