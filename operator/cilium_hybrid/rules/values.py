"""Paths of the chart's values that are not free, and what to write instead."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.rules.rule import Violation

_OWNED = "the operator sets it"
_LATER = "this version of the operator does not manage that feature"

OWNED_PATHS: Final[Mapping[str, str]] = {
    "affinity": "the operator keeps Cilium on the hybrid nodes",
    "agent": _OWNED,
    "bgpControlPlane": _LATER,
    "cleanBpfState": "it cuts every connection of a node",
    "cleanState": "it cuts every connection of a node",
    "cni.uninstall": _OWNED,
    "enableIPv4Masquerade": "write spec.masquerade",
    "envoy": _LATER,
    "extraArgs": "it can shadow what the operator sets",
    "extraConfig": "it can shadow what the operator sets",
    "extraEnv": "it can shadow what the operator sets",
    "gatewayAPI": _LATER,
    "ingressController": _LATER,
    "ipam": "write spec.ipam",
    "k8sServiceHost": _LATER,
    "k8sServiceHostRef": _LATER,
    "k8sServicePort": _LATER,
    "kubeProxyReplacement": _LATER,
    "loadBalancer.serviceTopology": _OWNED,
    "namespaceOverride": "Cilium is installed in kube-system",
    "nodeSelector": "the operator keeps Cilium on the hybrid nodes",
    "operator.affinity": "the operator keeps Cilium on the hybrid nodes",
    "operator.enabled": _OWNED,
    "operator.extraArgs": "it can shadow what the operator sets",
    "operator.extraEnv": "it can shadow what the operator sets",
    "operator.nodeSelector": "the operator keeps Cilium on the hybrid nodes",
    "operator.resources": "write spec.resources.operator",
    "operator.rollOutPods": _OWNED,
    "operator.unmanagedPodWatcher.restart": "it would restart pods of cloud nodes",
    "podAnnotations.ciliumhybrid.io/config-digest": _OWNED,
    "preflight": _OWNED,
    "resources": "write spec.resources.agent",
    "rollOutCiliumPods": _OWNED,
    "upgradeCompatibility": "it is the minor release first installed in this cluster, and the operator remembers it",
}


def owned_paths_are_left_alone(spec: Spec) -> Iterator[Violation]:
    """What the operator owns is not overridden from the side."""
    for path, instead in OWNED_PATHS.items():
        if _holds(spec.values, path):
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", f"cannot be set here: {instead}")


def _holds(values: Mapping[str, Any], path: str) -> bool:
    """Whether the path, or a value in the place of one of its parents, is there."""
    # The digest's annotation has dots in its name, so only the first part is split off where a parent is a map.
    head, _, rest = path.partition(".")
    if path in values:
        return True
    if head not in values:
        return False
    child = values[head]
    return not rest or not isinstance(child, Mapping) or _holds(child, rest)
