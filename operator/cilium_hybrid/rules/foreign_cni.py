"""Rules on what else handles the pod network of hybrid nodes."""

from collections.abc import Iterator
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.cluster_facts import ClusterRuleInput
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.text import list_names


def no_other_cilium_runs(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """Two Ciliums share CustomResourceDefinitions, CiliumNodes and the files of the CNI on each node."""
    if inputs.cluster.other_ciliums:
        yield Violation(
            Reason.RELEASE_NOT_OWNED,
            "spec",
            f"another Cilium runs, which this operator did not create: {list_names(inputs.cluster.other_ciliums)}",
            "uninstall it, or delete this CiliumHybrid",
        )


def no_other_cni_runs_on_hybrid_nodes(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """Two CNIs on a node break each other's pod traffic."""
    pods = [f"{pod} on {node}" for node, pod in inputs.cluster.foreign_cni.items()]
    if pods:
        yield Violation(
            Reason.FOREIGN_CNI,
            "spec",
            f"another CNI has pods on hybrid nodes: {list_names(pods)}",
            "exclude hybrid nodes with a node affinity, or uninstall it",
        )
    elif inputs.cluster.foreign_objects:
        yield Violation(
            Reason.FOREIGN_CNI,
            "spec",
            f"another CNI would run on hybrid nodes: {list_names(inputs.cluster.foreign_objects)}",
            "exclude hybrid nodes with a node affinity, or uninstall it",
        )


FOREIGN_CNI_RULES: Final[tuple[Rule[ClusterRuleInput], ...]] = (
    no_other_cilium_runs,
    no_other_cni_runs_on_hybrid_nodes,
)
