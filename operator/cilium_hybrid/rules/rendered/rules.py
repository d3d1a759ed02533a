"""Rules on what the chart renders: nothing on a cloud node changes, and nothing but Cilium is made."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import PREFLIGHT_ALLOWLIST
from cilium_hybrid.rules.rendered.images import images_come_from
from cilium_hybrid.rules.rendered.objects import only_known_objects_are_made, pods_reach_into_the_node_as_ciliums_do
from cilium_hybrid.rules.rendered.reading import Manifest, dig, maps, one_by_one, pods, title
from cilium_hybrid.rules.rule import Rule, Violation

HYBRID_LABEL: Final = "eks.amazonaws.com/compute-type"
HYBRID_VALUE: Final = "hybrid"
FOREIGN_NAMES: Final = ("aws-node", "kube-proxy")


def workloads_stay_on_hybrid_nodes(manifests: Sequence[Manifest]) -> Iterator[Violation]:
    """A workload without the hybrid affinity would start on cloud nodes, beside their own CNI."""
    for manifest, pod in pods(manifests):
        if not _only_hybrid(pod):
            yield Violation(
                Reason.RENDER_REFUSED,
                title(manifest),
                f"has no required affinity to {HYBRID_LABEL}={HYBRID_VALUE}, so it would run on cloud nodes",
                "take out what adds it from spec.values",
            )


def objects_of_the_cloud_half_are_left_alone(manifests: Sequence[Manifest]) -> Iterator[Violation]:
    """aws-node and kube-proxy carry the cloud nodes."""
    for manifest in one_by_one(manifests):
        if dig(manifest, ("metadata",)).get("name") in FOREIGN_NAMES:
            yield Violation(
                Reason.RENDER_REFUSED,
                title(manifest),
                "belongs to the cloud nodes",
                "this chart is not Cilium's",
            )


def _only_hybrid(pod: Mapping[str, Any]) -> bool:
    if dig(pod, ("nodeSelector",)).get(HYBRID_LABEL) == HYBRID_VALUE:
        return True
    required = dig(pod, ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"))
    stated = required.get("nodeSelectorTerms")
    terms = maps(stated)
    # Terms are alternatives: one without the label is enough for a cloud node.
    return (
        bool(terms)
        and terms == stated
        and all(
            any(
                expression.get("key") == HYBRID_LABEL
                and expression.get("operator") == "In"
                and expression.get("values") == [HYBRID_VALUE]
                for expression in maps(term.get("matchExpressions"))
            )
            for term in terms
        )
    )


MANIFEST_RULES: Final[tuple[Rule[Sequence[Manifest]], ...]] = (
    workloads_stay_on_hybrid_nodes,
    objects_of_the_cloud_half_are_left_alone,
    only_known_objects_are_made,
    pods_reach_into_the_node_as_ciliums_do,
)


def _of_the_chart(rule: Rule[Sequence[Manifest]]) -> Rule[Sequence[Manifest]]:
    """The same rule, where the values are the operator's and only the chart can be at fault."""

    def validate(manifests: Sequence[Manifest]) -> Iterator[Violation]:
        for broken in rule(manifests):
            yield replace(broken, fix="this is not the preflight of Cilium's own chart: correct spec.chart")

    return validate


PREFLIGHT_RULES: Final[tuple[Rule[Sequence[Manifest]], ...]] = (
    _of_the_chart(workloads_stay_on_hybrid_nodes),
    _of_the_chart(objects_of_the_cloud_half_are_left_alone),
    _of_the_chart(partial(only_known_objects_are_made, known=PREFLIGHT_ALLOWLIST)),
    _of_the_chart(partial(pods_reach_into_the_node_as_ciliums_do, known=PREFLIGHT_ALLOWLIST)),
)
"""The same for release `cilium-preflight`."""


def manifest_rules(mirror: str | None) -> tuple[Rule[Sequence[Manifest]], ...]:
    """The rules on release `cilium`, whose images come from `mirror`, or from anywhere."""
    return MANIFEST_RULES if mirror is None else (*MANIFEST_RULES, images_come_from(mirror))


def preflight_rules(mirror: str | None) -> tuple[Rule[Sequence[Manifest]], ...]:
    """The rules on release `cilium-preflight`, whose images come from `mirror`, or from anywhere."""
    return PREFLIGHT_RULES if mirror is None else (*PREFLIGHT_RULES, _of_the_chart(images_come_from(mirror)))
