"""Paths of the chart's values that are not free: owned by the operator, of a feature to come, or unsupported by AWS.

Sources: AWS guide "Configure CNI for hybrid nodes"; Cilium's Helm reference.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.chart_keys import keys_are_known
from cilium_hybrid.rules.extra_config import nothing_is_set_from_the_side
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.schema_errors import shown
from cilium_hybrid.rules.supported_minors import is_at_least

LARGEST: Final = 256 * 1024
"""In bytes of JSON: a Secret of Helm holds 1 MiB, and the chart and its manifests take half of it."""
DEEPEST: Final = 32

_OWNED: Final = "take it out: the operator sets it"
_PLACED: Final = "take it out: the operator keeps Cilium on the hybrid nodes"
_ALLOW: Final = "take it out, or set spec.allowUnsupported to true"
_UNQUOTED: Final = "write it without quotes: to the chart any text is true"
_LATER: Final = "take it out: this version of the operator does not manage that feature"

OWNED_PATHS: Final[Mapping[str, str]] = {
    "affinity": _PLACED,
    "agent": _OWNED,
    "agentNotReadyTaintKey": _OWNED,
    "cleanBpfState": "take it out: it cuts every connection of a node",
    "cleanState": "take it out: it cuts every connection of a node",
    "cni.uninstall": _OWNED,
    "enableIPv4Masquerade": "write spec.masquerade",
    "envoy.affinity": _PLACED,
    "envoy.nodeSelector": _PLACED,
    "envoy.rollOutPods": _OWNED,
    "hubble.relay.affinity": _PLACED,
    "hubble.relay.nodeSelector": _PLACED,
    "hubble.ui.affinity": _PLACED,
    "hubble.ui.nodeSelector": _PLACED,
    "ipam": "write spec.ipam",
    "k8s.apiServerURLs": _LATER,
    "k8sServiceHost": _LATER,
    "k8sServiceHostRef": _LATER,
    "k8sServicePort": _LATER,
    "kubeConfigPath": "take it out: Cilium reaches the API server as its ServiceAccount",
    "loadBalancer.serviceTopology": _OWNED,
    "namespaceOverride": "take it out: Cilium is installed in kube-system",
    "nodeSelector": _PLACED,
    "operator.affinity": _PLACED,
    "operator.enabled": _OWNED,
    "operator.nodeSelector": _PLACED,
    "operator.resources": "write spec.resources.operator",
    "operator.rollOutPods": _OWNED,
    "operator.unmanagedPodWatcher.restart": "take it out: it restarts pods of cloud nodes, and is kept off",
    "podAnnotations.ciliumhybrid.io/config-digest": _OWNED,
    "preflight": _OWNED,
    "resources": "write spec.resources.agent",
    "rollOutCiliumPods": _OWNED,
    "tunnel": "write tunnelProtocol: the chart refuses it",
    "updateStrategy": _OWNED,
    "upgradeCompatibility": "take it out: it is the minor release first installed here, and the operator remembers it",
}

FEATURES: Final[Mapping[str, tuple[object, ...]]] = {
    "bgpControlPlane.enabled": (False,),
    "envoy.enabled": (False,),
    "gatewayAPI.enabled": (False,),
    "ingressController.enabled": (False,),
    "kubeProxyReplacement": (False, "false"),
}
"""Switches of features that this version does not manage, and how they may stand."""

SUPPORTED: Final[Mapping[str, tuple[object, ...]]] = {
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
"""Paths at which AWS supports these values alone."""

UNLISTED: Final = ("hubble.relay.enabled", "hubble.ui.enabled")
"""Switches that work on hybrid nodes and are not in the list of what AWS supports."""


def _above(path: str) -> Iterator[str]:
    """The paths above one; the name of an annotation holds dots of its own."""
    names = path.split(".", 1) if "/" in path else path.split(".")
    return (".".join(names[:count]) for count in range(1, len(names)))


MAPS: Final = tuple(sorted({above for path in (*OWNED_PATHS, *FEATURES, *SUPPORTED) for above in _above(path)}))
"""Paths that others of these stand below."""

_NOWHERE: Final = object()


def maps_are_left_maps(spec: LenientSpec) -> Iterator[Violation]:
    """A null in the place of a map, such as one whose keys are all commented out, erases the chart's own keys too."""
    for path in MAPS:
        value = _at(spec.values, path)
        if value is not _NOWHERE and not isinstance(value, Mapping):
            message = f"is {shown(value)} where the chart has a map"
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", message, "take it out")


def owned_paths_are_left_alone(spec: LenientSpec) -> Iterator[Violation]:
    """What the operator owns is not overridden from the side; a null would erase it, and is refused as well."""
    for path, instead in OWNED_PATHS.items():
        if _at(spec.values, path) is not _NOWHERE:
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", "cannot be set here", instead)


def features_to_come_are_off(spec: LenientSpec) -> Iterator[Violation]:
    """A feature that is half managed would be half there: its objects are not among the operator's rights."""
    for path, harmless in FEATURES.items():
        value = _at(spec.values, path)
        if value is not _NOWHERE and value not in harmless:
            fix = _UNQUOTED if _is_harmless_in_quotes(value, harmless) else _LATER
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", f"is {shown(value)}", fix)


def values_are_supported_by_aws(spec: LenientSpec) -> Iterator[Violation]:
    """Outside this list AWS does not support Cilium on hybrid nodes (EKS user guide, Cilium capabilities)."""
    for path, supported in SUPPORTED.items() if not spec.allow_unsupported else ():
        value = _at(spec.values, path)
        # By type too: 0 is no False to the chart.
        if value is not _NOWHERE and not any(
            value is one or (value == one and type(value) is str) for one in supported
        ):
            if _is_harmless_in_quotes(value, supported):
                message, fix = f"is {shown(value)}", _UNQUOTED
            else:
                message, fix = f"is {shown(value)}, which AWS does not support on hybrid nodes", _ALLOW
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", message, fix)


def ingress_and_gateway_have_what_they_need(spec: LenientSpec) -> Iterator[Violation]:
    """From 1.19 on there is no node port without kube-proxy replacement; VTEP runs without Cilium's proxy."""
    on = [name for name in ("ingressController", "gatewayAPI") if _at(spec.values, f"{name}.enabled") is True]
    replaced = _at(spec.values, "kubeProxyReplacement") in {True, "true"} if on else False
    for name in on:
        path = f"spec.values.{name}.enabled"
        if spec.version is not None and is_at_least(spec.version, "1.19") and not replaced:
            yield Violation(
                Reason.INVALID_VALUES,
                path,
                f"is true without kube-proxy replacement, and from 1.19 on nothing else serves its node port "
                f"({spec.version})",
                "take it out",
            )
        if _at(spec.values, "vtep.enabled") is True:
            yield Violation(
                Reason.INVALID_VALUES,
                path,
                "is true beside vtep.enabled, which runs without the proxy that ingress and gateway are made of",
                "take one of them out",
            )


def vtep_runs_without_the_proxy(spec: LenientSpec) -> Iterator[Violation]:
    """AWS's gateway for hybrid nodes asks for both settings (EKS user guide, hybrid nodes gateway)."""
    if _at(spec.values, "vtep.enabled") is True and _at(spec.values, "l7Proxy") is not False:
        yield Violation(
            Reason.INVALID_VALUES, "spec.values.vtep.enabled", "is true while l7Proxy is on", "set l7Proxy to false"
        )


def values_fit_into_a_release(spec: LenientSpec) -> Iterator[Violation]:
    """A release that does not fit into its Secret fails when Helm writes it."""
    if _deeper(spec.values, DEEPEST):
        message = f"are nested deeper than {DEEPEST} levels"
        yield Violation(Reason.INVALID_VALUES, "spec.values", message, "no value of the chart is so deep")
        return
    size = len(json.dumps(spec.values, default=str))
    if size > LARGEST:
        message = f"take {size} bytes, and a Helm release has room for {LARGEST}"
        yield Violation(Reason.INVALID_VALUES, "spec.values", message, "take out what is not Cilium's")


def unlisted_features_are_told(spec: LenientSpec) -> Iterator[Violation]:
    """Hubble works; whoever turns it on shall know that AWS does not answer for it."""
    for path in UNLISTED:
        if _at(spec.values, path) is True:
            message = "is on, and not among what AWS supports on hybrid nodes"
            yield Violation(Reason.INVALID_VALUES, f"spec.values.{path}", message, "be ready to support it yourself")


def _is_harmless_in_quotes(value: object, harmless: tuple[object, ...]) -> bool:
    """Whether a text says what would do no harm as a boolean."""
    return (value == "false" and False in harmless) or (value == "true" and True in harmless)


def _at(values: Mapping[str, Any], path: str) -> object:
    """What stands at a path; _NOWHERE where there is nothing, or no map in the place of one of its parents."""
    # The digest's annotation has dots in its name: a name that is there as it stands is taken whole.
    if path in values:
        return values[path]
    head, _, rest = path.partition(".")
    if head not in values or not rest:
        return _NOWHERE
    child = values[head]
    return _at(child, rest) if isinstance(child, Mapping) else _NOWHERE


def _deeper(value: object, levels: int) -> bool:
    """Whether maps and lists are nested deeper; without recursion, for they may be very deep."""
    here: list[Any] = [value]
    for _ in range(levels):
        here = [
            inner
            for outer in here
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
            if isinstance(inner, Mapping | list)
        ]
        if not here:
            return False
    return True


VALUES_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    values_fit_into_a_release,
    maps_are_left_maps,
    owned_paths_are_left_alone,
    features_to_come_are_off,
    values_are_supported_by_aws,
    nothing_is_set_from_the_side,
    ingress_and_gateway_have_what_they_need,
    vtep_runs_without_the_proxy,
)
VALUES_WARNINGS: Final[tuple[Rule[LenientSpec], ...]] = (unlisted_features_are_told, keys_are_known)
