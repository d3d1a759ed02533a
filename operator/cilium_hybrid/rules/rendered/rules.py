"""The chains of rules on rendered manifests: cloud nodes are not affected, and only Cilium is installed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import KUBE_SYSTEM, PREFLIGHT_ALLOWLIST
from cilium_hybrid.rules.rendered.images import images_are_from_mirror
from cilium_hybrid.rules.rendered.objects import objects_are_allowed, pods_have_no_extra_node_access
from cilium_hybrid.rules.rendered.reading import (
    Manifest,
    flatten_lists,
    kind_and_name,
    mapping_at,
    mappings_in,
    pod_specs,
)
from cilium_hybrid.rules.rule import Rule, Violation

HYBRID_LABEL: Final = "eks.amazonaws.com/compute-type"
HYBRID_VALUE: Final = "hybrid"
AGENTS: Final = "cilium"
CLOUD_NODE_COMPONENTS: Final = ("aws-node", "kube-proxy")


def workloads_run_only_on_hybrid_nodes(manifests: Sequence[Manifest]) -> Iterator[Violation]:
    """A workload without the affinity would run on cloud nodes too, which have another CNI."""
    for manifest, pod in pod_specs(manifests):
        if not _selects_only_hybrid_nodes(pod):
            yield Violation(
                Reason.RENDER_REFUSED,
                kind_and_name(manifest),
                f"has no required affinity to {HYBRID_LABEL}={HYBRID_VALUE}, so it would run on cloud nodes",
                "remove the value that adds it from spec.values",
            )


def cloud_node_components_are_not_changed(manifests: Sequence[Manifest]) -> Iterator[Violation]:
    """The cloud nodes depend on aws-node and kube-proxy."""
    for manifest in flatten_lists(manifests):
        if mapping_at(manifest, ("metadata",)).get("name") in CLOUD_NODE_COMPONENTS:
            yield Violation(
                Reason.RENDER_REFUSED,
                kind_and_name(manifest),
                "is a component of the cloud nodes",
                "use Cilium's chart",
            )


def agents_are_rendered(manifests: Sequence[Manifest]) -> Iterator[Violation]:
    """Helm removes what a chart no longer renders, and the nodes would lose their network."""
    if not any(_is_agent_set(manifest) for manifest in flatten_lists(manifests)):
        yield Violation(
            Reason.RENDER_REFUSED,
            f"DaemonSet {KUBE_SYSTEM}/{AGENTS}",
            "is missing from what the chart renders, so Helm would remove the running agents",
            "use Cilium's chart",
        )


def _is_agent_set(manifest: Manifest) -> bool:
    metadata = mapping_at(manifest, ("metadata",))
    found = (manifest.get("kind"), metadata.get("name"), metadata.get("namespace", KUBE_SYSTEM))
    return found == ("DaemonSet", AGENTS, KUBE_SYSTEM)


def _selects_only_hybrid_nodes(pod: Mapping[str, Any]) -> bool:
    if mapping_at(pod, ("nodeSelector",)).get(HYBRID_LABEL) == HYBRID_VALUE:
        return True
    required = mapping_at(pod, ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"))
    value = required.get("nodeSelectorTerms")
    terms = mappings_in(value)
    # Terms are alternatives, so every one of them needs the label.
    return (
        bool(terms)
        and terms == value
        and all(
            any(
                expression.get("key") == HYBRID_LABEL
                and expression.get("operator") == "In"
                and expression.get("values") == [HYBRID_VALUE]
                for expression in mappings_in(term.get("matchExpressions"))
            )
            for term in terms
        )
    )


MANIFEST_RULES: Final[tuple[Rule[Sequence[Manifest]], ...]] = (
    workloads_run_only_on_hybrid_nodes,
    cloud_node_components_are_not_changed,
    objects_are_allowed,
    pods_have_no_extra_node_access,
    agents_are_rendered,
)


def _with_chart_fix(rule: Rule[Sequence[Manifest]]) -> Rule[Sequence[Manifest]]:
    """Return the rule with another fix, because the operator sets all values of a preflight."""

    def validate(manifests: Sequence[Manifest]) -> Iterator[Violation]:
        for violation in rule(manifests):
            yield replace(violation, fix="use Cilium's chart in spec.chart, because this is not its preflight")

    return validate


PREFLIGHT_RULES: Final[tuple[Rule[Sequence[Manifest]], ...]] = (
    _with_chart_fix(workloads_run_only_on_hybrid_nodes),
    _with_chart_fix(cloud_node_components_are_not_changed),
    _with_chart_fix(partial(objects_are_allowed, allowlist=PREFLIGHT_ALLOWLIST)),
    _with_chart_fix(partial(pods_have_no_extra_node_access, allowlist=PREFLIGHT_ALLOWLIST)),
)
"""The same rules for release `cilium-preflight`."""


def manifest_rules(mirror: str | None) -> tuple[Rule[Sequence[Manifest]], ...]:
    """Return the rules for release `cilium`, whose images must be from `mirror` unless it is None."""
    return MANIFEST_RULES if mirror is None else (*MANIFEST_RULES, images_are_from_mirror(mirror))


def preflight_rules(mirror: str | None) -> tuple[Rule[Sequence[Manifest]], ...]:
    """Return the rules for release `cilium-preflight`, whose images must be from `mirror` unless it is None."""
    return PREFLIGHT_RULES if mirror is None else (*PREFLIGHT_RULES, _with_chart_fix(images_are_from_mirror(mirror)))
