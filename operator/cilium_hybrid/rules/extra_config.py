"""Restricted keys in extraConfig, extraArgs and extraEnv, which could override what the operator sets.

Cilium reads each key of `cilium-config` also from an argument --key and an environment variable CILIUM_KEY, and the
chart writes extraConfig after its own keys, so that it takes precedence.
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
_API_SERVER_KEYS: Final = frozenset({"k8s-api-server", "k8s-api-server-urls"})
_API_SERVER: Final = frozenset({"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG"})


def extra_config_sets_no_restricted_keys(spec: LenientSpec) -> Iterator[Violation]:
    """A setting that is restricted in spec.values is restricted in extraConfig, extraArgs and extraEnv too."""
    for path, name, key in _settings(spec.values):
        if key in OWNED_KEYS or name in _API_SERVER:
            fix = "use spec.apiServer" if key in _API_SERVER_KEYS or name in _API_SERVER else "remove it"
            yield Violation(Reason.INVALID_VALUES, path, f"{name} overrides a setting of the operator", fix)
        elif key in UNSUPPORTED_KEYS and not spec.allow_unsupported:
            message = f"{name} changes a setting that AWS does not support changing on hybrid nodes"
            fix = "remove it, or set spec.allowUnsupported to true"
            yield Violation(Reason.INVALID_VALUES, path, message, fix)


def _settings(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the name as written, and the key of `cilium-config` of each extra setting."""
    config = values.get("extraConfig")
    for name in config if isinstance(config, Mapping) else ():
        # Cilium ignores the case of keys.
        yield f"spec.values.extraConfig.{name}", str(name), str(name).lower()
    for component in ("", "operator", "envoy"):
        component_values = values if not component else values.get(component)
        if not isinstance(component_values, Mapping):
            continue
        path = ".".join(filter(None, ("spec.values", component)))
        for index, argument in enumerate(_list(component_values.get("extraArgs"))):
            if isinstance(argument, str) and argument.startswith("-"):
                name = re.split("[= ]", argument, maxsplit=1)[0]
                yield f"{path}.extraArgs[{index}]", name, name.lstrip("-").lower()
        for index, variable in enumerate(_list(component_values.get("extraEnv"))):
            name = str(variable.get("name")) if isinstance(variable, Mapping) else ""
            yield f"{path}.extraEnv[{index}]", name, name.removeprefix("CILIUM_").lower().replace("_", "-")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
