"""The ways around: extraConfig, extraArgs and extraEnv are free, except where they shadow what is refused elsewhere.

Cilium reads each key of `cilium-config` as an argument --key and as a variable CILIUM_KEY as well, and the chart writes
extraConfig behind its own keys, where it wins.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Violation

OWNED_KEYS: Final = frozenset(
    {
        "agent-not-ready-taint-key",
        "bgp-announce-lb-ip",
        "bgp-announce-pod-cidr",
        "clean-cilium-bpf-state",
        "clean-cilium-state",
        "cluster-pool-ipv4-cidr",
        "cluster-pool-ipv4-mask-size",
        "cluster-pool-ipv6-cidr",
        "cluster-pool-ipv6-mask-size",
        "cni-uninstall",
        "config",
        "config-dir",
        "config-map",
        "config-sources",
        "enable-bgp-control-plane",
        "enable-gateway-api",
        "enable-ingress-controller",
        "enable-ipv4-masquerade",
        "enable-service-topology",
        "external-envoy-proxy",
        "ipam",
        "ipv4-node",
        "ipv4-range",
        "k8s-api-server",
        "k8s-api-server-urls",
        "k8s-kubeconfig-path",
        "k8s-namespace",
        "kube-proxy-replacement",
        "unmanaged-pod-watcher-interval",
        "write-cni-conf-when-ready",
    }
)
UNSUPPORTED_KEYS: Final = frozenset(
    {
        "auto-direct-node-routes",
        "cluster-id",
        "cluster-name",
        "clustermesh-config",
        "cni-chaining-mode",
        "cni-chaining-target",
        "cni-exclusive",
        "datapath-mode",
        "enable-egress-gateway",
        "enable-encryption-strict-mode",
        "enable-endpoint-routes",
        "enable-eni",
        "enable-ipsec",
        "enable-ipv4",
        "enable-ipv4-egress-gateway",
        "enable-ipv6",
        "enable-l2-announcements",
        "enable-wireguard",
        "identity-allocation-mode",
        "ipv4-native-routing-cidr",
        "kvstore",
        "kvstore-opt",
        "mesh-auth-enabled",
        "routing-mode",
        "tunnel",
        "tunnel-protocol",
    }
)
_API_SERVER: Final = frozenset({"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG"})


def nothing_is_set_from_the_side(spec: LenientSpec) -> Iterator[Violation]:
    """What `values` may not say, extraConfig, extraArgs and extraEnv may not say either."""
    for path, name, key in _written(spec.values):
        if key in OWNED_KEYS or name in _API_SERVER:
            yield _refused(path, f"{name} shadows what the operator sets", "take it out")
        elif key in UNSUPPORTED_KEYS and not spec.allow_unsupported:
            message = f"{name} changes what AWS supports on hybrid nodes only as it is"
            yield _refused(path, message, "take it out, or set spec.allowUnsupported to true")


def _refused(path: str, message: str, fix: str) -> Violation:
    return Violation(Reason.INVALID_VALUES, path, message, fix)


def _written(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Path, name as written, and key of `cilium-config`, of everything that is set beside the chart's own values."""
    config = values.get("extraConfig")
    for name in config if isinstance(config, Mapping) else ():
        # Cilium takes its keys in capitals too.
        yield f"spec.values.extraConfig.{name}", str(name), str(name).lower()
    for where in ("", "operator", "envoy"):
        inside = values if not where else values.get(where)
        if not isinstance(inside, Mapping):
            continue
        path = ".".join(filter(None, ("spec.values", where)))
        for index, argument in enumerate(_list(inside.get("extraArgs"))):
            if isinstance(argument, str) and argument.startswith("-"):
                name = re.split("[= ]", argument, maxsplit=1)[0]
                yield f"{path}.extraArgs[{index}]", name, name.lstrip("-").lower()
        for index, variable in enumerate(_list(inside.get("extraEnv"))):
            name = str(variable.get("name")) if isinstance(variable, Mapping) else ""
            yield f"{path}.extraEnv[{index}]", name, name.removeprefix("CILIUM_").lower().replace("_", "-")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
