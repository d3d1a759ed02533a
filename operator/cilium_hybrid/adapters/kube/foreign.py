"""Facts about what else handles pod networks: DaemonSets of other CNIs or Ciliums, and CiliumNodeConfigs."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cilium_hybrid.plan.observation import CILIUM, ForeignObject, NodeConfigOverride
from cilium_hybrid.plan.release import NAMESPACE, RELEASE
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE

Raw = Mapping[str, Any]

_AGENT_CONTAINER: Final = "cilium-agent"
_IMAGES: Final = {
    "flannel/flannel": "flannel",
    "flannel-io/flannel": "flannel",
    "coreos/flannel": "flannel",
    "weaveworks/weave-kube": "Weave Net",
    "antrea/antrea-agent-ubuntu": "Antrea",
    "antrea/antrea-ubuntu": "Antrea",
    "calico/node": "Calico",
    "cloudnativelabs/kube-router": "kube-router",
    "kubeovn/kube-ovn": "Kube-OVN",
}
"""Products by the last two parts of the repository of their agent's image, which mirrors usually keep."""
_NAMES: Final = {
    "kube-flannel": "flannel",
    "kube-flannel-ds": "flannel",
    "weave-net": "Weave Net",
    "antrea-agent": "Antrea",
    "calico-node": "Calico",
    "canal": "Canal",
    "kube-router": "kube-router",
    "kube-ovn-cni": "Kube-OVN",
}
"""Products by the name that their own manifests give the DaemonSet."""
_ANY_NODE: Final = frozenset({"kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os"})
"""Labels that hybrid nodes have too, so that a selector on them does not keep a pod away."""


def foreign_object(raw: Raw) -> ForeignObject | None:
    """Return the fact of a DaemonSet; None unless it is another CNI that may run on hybrid nodes, or another Cilium."""
    metadata, pod = raw["metadata"], (raw.get("spec") or {}).get("template", {}).get("spec") or {}
    namespace, name = str(metadata["namespace"]), str(metadata["name"])
    containers = pod.get("containers") or []
    title = f"DaemonSet {namespace}/{name}"
    if any(container.get("name") == _AGENT_CONTAINER for container in containers):
        return None if (namespace, name) == (NAMESPACE, RELEASE) else ForeignObject(title, CILIUM)
    images = (_repository(str(container.get("image") or "")) for container in containers)
    cni = _NAMES.get(name) or next((_IMAGES[image] for image in images if image in _IMAGES), None)
    if cni is None or not _may_run_on_hybrid_nodes(pod):
        return None
    return ForeignObject(title, cni)


def node_config(raw: Raw) -> NodeConfigOverride | None:
    """Return the fact of a CiliumNodeConfig; None if it sets nothing."""
    metadata, keys = raw["metadata"], sorted((raw.get("spec") or {}).get("defaults") or {})
    return NodeConfigOverride(f"{metadata['namespace']}/{metadata['name']}", tuple(keys)) if keys else None


def _repository(image: str) -> str:
    """Return the last two parts of the repository of an image."""
    path = image.partition("@")[0]
    parts = path.split("/")
    parts[-1] = parts[-1].partition(":")[0]
    return "/".join(parts[-2:])


def _may_run_on_hybrid_nodes(pod: Raw) -> bool:
    """Whether the pods may be scheduled on hybrid nodes, as far as their node selector and affinity say.

    A selector on another label may keep them away: then nothing is known, and a pod on a hybrid node would show it.
    """
    selector = pod.get("nodeSelector") or {}
    if not _accepts({key: [str(value)] for key, value in selector.items()}):
        return False
    required = ((pod.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    terms = required.get("nodeSelectorTerms") or []
    return not terms or any(all(_matches(expression) for expression in _expressions(term)) for term in terms)


def _expressions(term: Raw) -> Iterator[Raw]:
    yield from term.get("matchExpressions") or []


def _accepts(selector: Mapping[str, list[str]]) -> bool:
    return all(_matches({"key": key, "operator": "In", "values": values}) for key, values in selector.items())


def _matches(expression: Raw) -> bool:
    """Whether a hybrid node certainly matches; for an unknown label that must have a value, it does not."""
    key, operator, values = expression.get("key"), expression.get("operator"), expression.get("values") or []
    if key == HYBRID_LABEL:
        has = HYBRID_VALUE in values
        return {"In": has, "NotIn": not has, "Exists": True, "DoesNotExist": False}.get(str(operator), False)
    return key in _ANY_NODE or operator in {"NotIn", "DoesNotExist"}
