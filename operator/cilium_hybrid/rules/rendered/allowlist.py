"""The objects of Cilium and its preflight that the operator may create, and the node access of their pods.

deploy/operator/rbac-cilium.yaml has the same list, which a test compares.
Source: manifests rendered from the charts of Cilium 1.17 to 1.20 for hybrid nodes, with Hubble Relay and Hubble UI.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

KUBE_SYSTEM: Final = "kube-system"
SECRETS: Final = "cilium-secrets"
RBAC: Final = "rbac.authorization.k8s.io/v1"
CLUSTER_SCOPED: Final = ""
"""Stands for the namespace of a cluster-scoped object."""

_SECRET_ROLES: Final = frozenset({"cilium-operator-tlsinterception-secrets", "cilium-tlsinterception-secrets"})
_CLUSTER_ROLES: Final = frozenset({"cilium", "cilium-operator", "hubble-ui"})
_ROLES: Final = frozenset({"cilium-config-agent", "cilium-operator-ztunnel"})

CILIUM_OBJECTS: Final[Mapping[tuple[str, str, str], frozenset[str]]] = {
    ("v1", "Namespace", CLUSTER_SCOPED): frozenset({SECRETS}),
    ("v1", "ConfigMap", KUBE_SYSTEM): frozenset({"cilium-config", "hubble-relay-config", "hubble-ui-nginx"}),
    ("v1", "Secret", KUBE_SYSTEM): frozenset({"cilium-ca", "hubble-relay-client-certs", "hubble-server-certs"}),
    ("v1", "Service", KUBE_SYSTEM): frozenset({"hubble-peer", "hubble-relay", "hubble-ui"}),
    ("v1", "ServiceAccount", KUBE_SYSTEM): frozenset({"cilium", "cilium-operator", "hubble-relay", "hubble-ui"}),
    ("apps/v1", "DaemonSet", KUBE_SYSTEM): frozenset({"cilium"}),
    ("apps/v1", "Deployment", KUBE_SYSTEM): frozenset({"cilium-operator", "hubble-relay", "hubble-ui"}),
    (RBAC, "ClusterRole", CLUSTER_SCOPED): _CLUSTER_ROLES,
    (RBAC, "ClusterRoleBinding", CLUSTER_SCOPED): _CLUSTER_ROLES,
    (RBAC, "Role", KUBE_SYSTEM): _ROLES,
    (RBAC, "RoleBinding", KUBE_SYSTEM): _ROLES,
    (RBAC, "Role", SECRETS): _SECRET_ROLES,
    (RBAC, "RoleBinding", SECRETS): _SECRET_ROLES,
}
"""Names by API version, kind and namespace."""

ENABLED_BY: Final[Mapping[str, str]] = {
    "ConfigMap cilium-flowlog-config": "hubble.export.dynamic.enabled",
    "CronJob": "hubble.tls.auto.method",
    "Ingress": "hubble.ui.ingress.enabled",
    "Job": "hubble.tls.auto.method",
    "PodDisruptionBudget": "podDisruptionBudget.enabled",
    "Secret hubble-relay-server-certs": "hubble.relay.tls.server.enabled",
    "Service cilium-agent": "prometheus.enabled",
    "Service hubble-metrics": "hubble.metrics.enabled",
    "ServiceMonitor": "serviceMonitor.enabled",
}
"""The chart values that add objects which are not allowed, by kind, or by kind and name."""


@dataclass(frozen=True, slots=True)
class NodeAccess:
    """What the pods of a workload may access on their node; `containers` are Cilium's, with their capabilities."""

    host_network: bool = False
    host_paths: frozenset[str] = frozenset()
    containers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    privileged: frozenset[str] = frozenset()


NO_NODE_ACCESS: Final = NodeAccess()

_NSENTER: Final = frozenset({"SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"})
# Newer kernels have the last two as parts of SYS_ADMIN.
_CLEAN: Final = frozenset({"NET_ADMIN", "SYS_MODULE", "SYS_ADMIN", "SYS_RESOURCE", "PERFMON", "BPF"})

CILIUM_NODE_ACCESS: Final[Mapping[tuple[str, str], NodeAccess]] = {
    ("DaemonSet", "cilium"): NodeAccess(
        host_network=True,
        host_paths=frozenset(
            {
                "/etc/cni/net.d",
                "/lib/modules",
                "/opt/cni/bin",
                "/proc",
                "/proc/sys/kernel",
                "/proc/sys/net",
                "/run/cilium/cgroupv2",
                "/run/xtables.lock",
                "/sys/fs/bpf",
                "/var/run/cilium",
                "/var/run/netns",
            }
        ),
        containers={
            "cilium-agent": _CLEAN
            | {"CHOWN", "DAC_OVERRIDE", "FOWNER", "IPC_LOCK", "KILL", "NET_RAW", "SETGID", "SETUID", "SYSLOG"},
            "cilium-monitor": frozenset(),
            "config": frozenset({"NET_ADMIN"}),
            "mount-cgroup": _NSENTER,
            "apply-sysctl-overwrites": _NSENTER,
            "mount-bpf-fs": frozenset(),
            "clean-cilium-state": _CLEAN,
            "wait-for-kube-proxy": frozenset(),
            "install-cni-binaries": frozenset(),
        },
        privileged=frozenset({"mount-bpf-fs", "wait-for-kube-proxy"}),
    ),
    ("Deployment", "cilium-operator"): NodeAccess(host_network=True),
}
"""By kind and name; other pods have no access. Host paths that a value sets are allowed only with their default."""

PREFLIGHT_OBJECTS: Final[Mapping[tuple[str, str, str], frozenset[str]]] = {
    ("v1", "ServiceAccount", KUBE_SYSTEM): frozenset({"cilium-pre-flight"}),
    ("apps/v1", "DaemonSet", KUBE_SYSTEM): frozenset({"cilium-pre-flight-check"}),
    ("apps/v1", "Deployment", KUBE_SYSTEM): frozenset({"cilium-pre-flight-check"}),
    (RBAC, "ClusterRole", CLUSTER_SCOPED): frozenset({"cilium-pre-flight"}),
    (RBAC, "ClusterRoleBinding", CLUSTER_SCOPED): frozenset({"cilium-pre-flight"}),
}

PREFLIGHT_NODE_ACCESS: Final[Mapping[tuple[str, str], NodeAccess]] = {
    ("DaemonSet", "cilium-pre-flight-check"): NodeAccess(
        host_network=True,
        host_paths=frozenset({"/sys/fs/bpf", "/var/run/cilium"}),
        containers={"clean-cilium-state": frozenset(), "cilium-pre-flight-check": frozenset()},
    ),
    ("Deployment", "cilium-pre-flight-check"): NodeAccess(host_network=True),
}


@dataclass(frozen=True, slots=True)
class Allowlist:
    """The objects that a release may contain, and the node access of their pods."""

    objects: Mapping[tuple[str, str, str], frozenset[str]]
    node_access: Mapping[tuple[str, str], NodeAccess]


CILIUM_ALLOWLIST: Final = Allowlist(CILIUM_OBJECTS, CILIUM_NODE_ACCESS)
PREFLIGHT_ALLOWLIST: Final = Allowlist(PREFLIGHT_OBJECTS, PREFLIGHT_NODE_ACCESS)
