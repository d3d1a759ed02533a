"""Restricted paths of spec.values: owned by the operator, of a feature it does not manage, or unsupported by AWS.

Sources: AWS guide "Configure CNI for hybrid nodes"; Cilium's Helm reference.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.chart_keys import keys_are_known
from cilium_hybrid.rules.extra_config import extra_config_sets_no_restricted_keys
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.supported_minors import first_minor, minor_of
from cilium_hybrid.rules.text import format_value

MAX_BYTES: Final = 256 * 1024
"""In bytes of JSON. Helm's release Secret holds 1 MiB, and the chart and its manifests take half of it."""
MAX_DEPTH: Final = 32

_OWNED: Final = "remove it, because the operator sets it"
_PLACED: Final = "remove it, because the operator keeps Cilium on hybrid nodes"
_ALLOW: Final = "remove it, or set spec.allowUnsupported to true"
_UNQUOTED: Final = "remove the quotes"
_UNMANAGED: Final = "remove it, because this version of the operator does not manage this feature"

OWNED_PATHS: Final[Mapping[str, str]] = {
    "affinity": _PLACED,
    "agent": _OWNED,
    "agentNotReadyTaintKey": _OWNED,
    "cleanBpfState": "remove it, because it interrupts all connections of a node",
    "cleanState": "remove it, because it interrupts all connections of a node",
    "cni.uninstall": _OWNED,
    "enableIPv4Masquerade": "use spec.masquerade",
    "envoy.affinity": _PLACED,
    "envoy.nodeSelector": _PLACED,
    "envoy.rollOutPods": _OWNED,
    "hubble.relay.affinity": _PLACED,
    "hubble.relay.nodeSelector": _PLACED,
    "hubble.ui.affinity": _PLACED,
    "hubble.ui.nodeSelector": _PLACED,
    "ipam": "use spec.ipam",
    "k8s.apiServerURLs": "use spec.apiServer",
    "k8sServiceHost": "use spec.apiServer.host",
    "k8sServiceHostRef": "use spec.apiServer.host",
    "k8sServicePort": "use spec.apiServer.port",
    "kubeConfigPath": "remove it, because Cilium authenticates to the API server with its ServiceAccount",
    "loadBalancer.serviceTopology": _OWNED,
    "namespaceOverride": "remove it, because Cilium is installed in kube-system",
    "nodeSelector": _PLACED,
    "operator.affinity": _PLACED,
    "operator.enabled": _OWNED,
    "operator.nodeSelector": _PLACED,
    "operator.resources": "use spec.resources.operator",
    "operator.rollOutPods": _OWNED,
    "operator.unmanagedPodWatcher.restart": "remove it, because it would restart pods on cloud nodes",
    "podAnnotations.ciliumhybrid.io/config-digest": _OWNED,
    "preflight": _OWNED,
    "resources": "use spec.resources.agent",
    "rollOutCiliumPods": _OWNED,
    "tunnel": "use tunnelProtocol, because the chart rejects tunnel",
    "updateStrategy": _OWNED,
    "upgradeCompatibility": "remove it, because the operator sets it to the minor version that was installed first",
}

UNMANAGED_FEATURES: Final[Mapping[str, tuple[object, ...]]] = {
    "bgpControlPlane.enabled": (False,),
    "envoy.enabled": (False,),
    "gatewayAPI.enabled": (False,),
    "ingressController.enabled": (False,),
    "kubeProxyReplacement": (False, "false"),
}
"""Features that this version does not manage: the path of their value, and what it may be."""

SUPPORTED_VALUES: Final[Mapping[str, tuple[object, ...]]] = {
    "alibabacloud.enabled": (False,),
    "authentication.mutual.spire.enabled": (False,),
    "autoDirectNodeRoutes": (False,),
    "azure.enabled": (False,),
    "bpf.datapathMode": ("veth",),
    "clustermesh.config.enabled": (False,),
    "clustermesh.useAPIServer": (False,),
    "cni.chainingMode": (None, "", "none"),
    "cni.chainingTarget": (None, ""),
    "cni.exclusive": (True,),
    "cni.install": (True,),
    "egressGateway.enabled": (False,),
    "encryption.enabled": (False,),
    "endpointRoutes.enabled": (False,),
    "eni.enabled": (False,),
    "etcd.enabled": (False,),
    "externalWorkloads.enabled": (False,),
    "gke.enabled": (False,),
    "highScaleIPcache.enabled": (False,),
    "identityAllocationMode": ("crd",),
    "ipv4.enabled": (True,),
    "ipv4NativeRoutingCIDR": ("",),
    "ipv6.enabled": (False,),
    "l2announcements.enabled": (False,),
    "l2podAnnouncements.enabled": (False,),
    "nodeinit.enabled": (False,),
    "routingMode": ("", "tunnel"),
    "tunnelProtocol": ("", "vxlan"),
}
"""Paths for which AWS supports only these values."""

UNSUPPORTED_FEATURES: Final = ("hubble.relay.enabled", "hubble.ui.enabled")
"""Features that work on hybrid nodes, but that AWS does not list as supported."""


def _parents(path: str) -> Iterator[str]:
    """Yield the parent paths of a path; the name of an annotation contains dots itself."""
    names = path.split(".", 1) if "/" in path else path.split(".")
    return (".".join(names[:count]) for count in range(1, len(names)))


RESTRICTED_PATHS: Final = (*OWNED_PATHS, *UNMANAGED_FEATURES, *SUPPORTED_VALUES)
PARENT_PATHS: Final = tuple(sorted({parent for path in RESTRICTED_PATHS for parent in _parents(path)}))
"""Parents of restricted paths."""

_UNSET: Final = object()


def parents_of_restricted_paths_are_maps(spec: LenientSpec) -> Iterator[Violation]:
    """A null instead of a map, such as a map whose keys are all commented out, would erase the chart's own keys."""
    for path in PARENT_PATHS:
        value = _value_at(spec.values, path)
        if value is not _UNSET and not isinstance(value, Mapping):
            message = f"Invalid value: {format_value(value)}: must be a map"
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", message, "remove it")


def owned_paths_are_not_set(spec: LenientSpec) -> Iterator[Violation]:
    """Values that the operator sets cannot be overridden; a null is refused too, because it would erase them."""
    for path, fix in OWNED_PATHS.items():
        if _value_at(spec.values, path) is not _UNSET:
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", "cannot be set in spec.values", fix)


def unmanaged_features_are_disabled(spec: LenientSpec) -> Iterator[Violation]:
    """The operator has no permissions for the objects of these features, so they would be installed only in part."""
    for path, allowed in UNMANAGED_FEATURES.items():
        value = _value_at(spec.values, path)
        if value is not _UNSET and value not in allowed:
            if _is_quoted_boolean(value, allowed):
                yield _quoted(path, value)
            else:
                yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", f"is {format_value(value)}", _UNMANAGED)


def unsupported_values_need_allow_unsupported(spec: LenientSpec) -> Iterator[Violation]:
    """AWS supports Cilium on hybrid nodes only with these values (EKS user guide, Cilium capabilities)."""
    for path, supported in SUPPORTED_VALUES.items() if not spec.allow_unsupported else ():
        value = _value_at(spec.values, path)
        # Compare the type too: for the chart, 0 is not false.
        if value is _UNSET or any(value is one or (value == one and type(value) is str) for one in supported):
            continue
        if _is_quoted_boolean(value, supported):
            yield _quoted(path, value)
        else:
            message = f"is {format_value(value)}, which AWS does not support on hybrid nodes"
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", message, _ALLOW)


def ingress_and_gateway_requirements_are_met(spec: LenientSpec) -> Iterator[Violation]:
    """Some minors serve no node port without kube-proxy replacement; VTEP requires that the L7 proxy is off."""
    enabled = [
        name for name in ("ingressController", "gatewayAPI") if _value_at(spec.values, f"{name}.enabled") is True
    ]
    replacement = _value_at(spec.values, "kubeProxyReplacement")
    replaced = replacement is True or replacement == "true"
    for name in enabled:
        path = f"spec.values.{name}.enabled"
        if spec.version is not None and minor_of(spec.version).ingress_needs_kube_proxy_replacement and not replaced:
            since = first_minor(lambda minor: minor.ingress_needs_kube_proxy_replacement)
            yield Violation(
                Reason.INVALID_VALUES,
                path,
                f"is true, but from Cilium {since} on its node port needs kube-proxy replacement "
                f"(spec.version is {spec.version})",
                "remove it",
            )
        if _value_at(spec.values, "vtep.enabled") is True:
            yield Violation(
                Reason.INVALID_VALUES,
                path,
                "is true, but vtep.enabled is true too and needs l7Proxy: false; Ingress and Gateway need the proxy",
                "remove one of them",
            )


def vtep_requires_l7_proxy_disabled(spec: LenientSpec) -> Iterator[Violation]:
    """The EKS Hybrid Nodes gateway needs both settings (EKS user guide, hybrid nodes gateway)."""
    if _value_at(spec.values, "vtep.enabled") is True and _value_at(spec.values, "l7Proxy") is not False:
        yield Violation(
            Reason.INVALID_VALUES,
            "spec.values.vtep.enabled",
            "is true, but l7Proxy is not false",
            "set l7Proxy to false",
        )


def values_fit_in_a_release_secret(spec: LenientSpec) -> Iterator[Violation]:
    """Helm fails to write a release that is too large for its Secret."""
    if _is_nested_deeper(spec.values, MAX_DEPTH):
        message = f"nested deeper than {MAX_DEPTH} levels"
        yield Violation(
            Reason.INVALID_VALUES, "spec.values", message, "remove levels; no value of the chart is that deep"
        )
        return
    size = len(json.dumps(spec.values, default=str))
    if size > MAX_BYTES:
        message = f"Too long: {size} bytes of JSON: must have at most {MAX_BYTES}"
        yield Violation(
            Reason.INVALID_VALUES, "spec.values", message, "remove everything that is not a value of Cilium"
        )


def features_unsupported_by_aws_are_reported(spec: LenientSpec) -> Iterator[Violation]:
    """Hubble works, but AWS does not support it; this is a warning."""
    for path in UNSUPPORTED_FEATURES:
        if _value_at(spec.values, path) is True:
            message = "is enabled but AWS does not support it on hybrid nodes"
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", message, "disable it if you need AWS support")


def _is_quoted_boolean(value: object, allowed: tuple[object, ...]) -> bool:
    """Whether a string would be allowed as a boolean."""
    return (value == "false" and False in allowed) or (value == "true" and True in allowed)


def _quoted(path: str, value: object) -> Violation:
    message = f"is {format_value(value)}, and the chart treats every string as true"
    return Violation(Reason.INVALID_VALUES, f"spec.values.{path}", message, _UNQUOTED)


def _value_at(values: Mapping[str, Any], path: str) -> object:
    """Return the value at a path; _UNSET if there is none, or if a parent is not a map."""
    # The name of the digest annotation contains dots, so try the whole path as one name first.
    if path in values:
        return values[path]
    head, _, rest = path.partition(".")
    if head not in values or not rest:
        return _UNSET
    child = values[head]
    return _value_at(child, rest) if isinstance(child, Mapping) else _UNSET


def _is_nested_deeper(value: object, levels: int) -> bool:
    """Whether maps and lists are nested deeper than `levels`; without recursion, because they may be very deep."""
    level: list[Any] = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
            if isinstance(inner, Mapping | list)
        ]
        if not level:
            return False
    return True


VALUES_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    values_fit_in_a_release_secret,
    parents_of_restricted_paths_are_maps,
    owned_paths_are_not_set,
    unmanaged_features_are_disabled,
    unsupported_values_need_allow_unsupported,
    extra_config_sets_no_restricted_keys,
    ingress_and_gateway_requirements_are_met,
    vtep_requires_l7_proxy_disabled,
)
VALUES_WARNINGS: Final[tuple[Rule[LenientSpec], ...]] = (features_unsupported_by_aws_are_reported, keys_are_known)
