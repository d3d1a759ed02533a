"""The Helm values of release `cilium`: the same spec always leads to the same values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.api.upgrade import Rollout, RolloutStrategy
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE

CONFIG_DIGEST: Final = "ciliumhybrid.io/config-digest"
HUBBLE_PODS: Final = ("relay", "ui")
"""Components of Hubble that run in their own pods; the agents do not read their values."""

_HYBRID_NODES: Final[dict[str, Any]] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": HYBRID_LABEL, "operator": "In", "values": [HYBRID_VALUE]}]}
            ]
        }
    }
}


def helm_values(spec: Spec, initial_series: str | None = None) -> dict[str, Any]:
    """Return all values of release `cilium`; nothing of an earlier revision is reused.

    `initial_series` is the minor version first installed in this cluster, X.Y; None for a first install.
    Source: AWS guide "Configure CNI for hybrid nodes"; for upgradeCompatibility, Cilium's upgrade guide.
    """
    owned = merged(_owned(spec, initial_series), _hubble_affinity(spec.values))
    values = merged(spec.values, {**_without_none(owned), **api_server(spec), **pull_secrets(spec)})
    return merged(
        values, {"podAnnotations": {CONFIG_DIGEST: config_digest(spec.version, values, spec.registry_mirror)}}
    )


def restored_values(values: Mapping[str, Any], pod_cidrs: Sequence[str], mask_size: int | None) -> dict[str, Any]:
    """Return the values of an earlier revision for a rollback: with the pools that run now, and OnDelete.

    Nodes may have blocks of a pool that was added since, so no pool is removed. What the agents read is unchanged.
    """
    pool: dict[str, Any] = {"clusterPoolIPv4PodCIDRList": list(pod_cidrs)}
    if mask_size is not None:
        pool["clusterPoolIPv4MaskSize"] = mask_size
    restored = merged(values, {"ipam": {"operator": pool}})
    return {**restored, "updateStrategy": {"type": "OnDelete"}}


def pull_secrets(spec: Spec) -> dict[str, Any]:
    """Return the value for spec.imagePullSecrets, for either release; empty if the spec has none."""
    secrets = [{"name": secret.name} for secret in spec.image_pull_secrets]
    return {"imagePullSecrets": secrets} if secrets else {}


def api_server(spec: Spec) -> dict[str, Any]:
    """Return the values for spec.apiServer, for either release; empty if the spec has none."""
    if spec.api_server is None:
        return {}
    return {"k8sServiceHost": spec.api_server.host, "k8sServicePort": spec.api_server.port}


def _owned(spec: Spec, initial_series: str | None) -> dict[str, Any]:
    return {
        "affinity": _HYBRID_NODES,
        "enableIPv4Masquerade": spec.masquerade,
        "envoy": {"enabled": False, "rollOutPods": True},
        "ipam": {
            "mode": "cluster-pool",
            "operator": {
                "clusterPoolIPv4MaskSize": spec.ipam.mask_size,
                "clusterPoolIPv4PodCIDRList": list(spec.ipam.pod_cidrs),
            },
        },
        # A string, because charts before 1.18 do not accept a boolean.
        "kubeProxyReplacement": "false",
        "loadBalancer": {"serviceTopology": True},
        "operator": {
            "affinity": _HYBRID_NODES,
            "resources": spec.resources.operator,
            "rollOutPods": True,
            "unmanagedPodWatcher": {"restart": False},
        },
        "resources": spec.resources.agent,
        "updateStrategy": _update_strategy(spec.upgrade.rollout),
        # The chart's own checksum covers the whole cilium-config: an appended CIDR would restart every agent.
        "rollOutCiliumPods": False,
        "upgradeCompatibility": initial_series or CiliumVersion.parse(spec.version).series,
    }


def _hubble_affinity(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the affinity of Hubble's relay and UI if they are enabled; else nothing, so that no value is added."""
    hubble = values.get("hubble")
    components = {name: hubble.get(name) for name in HUBBLE_PODS} if isinstance(hubble, Mapping) else {}
    enabled = [name for name, part in components.items() if isinstance(part, Mapping) and part.get("enabled") is True]
    return {"hubble": {name: {"affinity": _HYBRID_NODES} for name in enabled}} if enabled else {}


def _update_strategy(rollout: Rollout) -> dict[str, Any]:
    if rollout.strategy is RolloutStrategy.GATED:
        return {"type": "OnDelete"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": rollout.max_unavailable}}


def config_digest(version: str, values: Mapping[str, Any], mirror: str | None = None) -> str:
    """Return the digest of what the agents read: it changes if, and only if, they must restart.

    It leaves out what only others read: the values of the Cilium operator, the pools that it allocates node blocks
    from, the values of Hubble's relay and UI, and the update strategy of the agents' DaemonSet. `mirror` is the
    registry mirror that the agents' images come from.
    """
    agents: dict[str, Any] = {key: value for key, value in values.items() if key not in {"operator", "updateStrategy"}}
    agents["ipam"] = {key: value for key, value in values["ipam"].items() if key != "operator"}
    hubble = values.get("hubble")
    if isinstance(hubble, Mapping) and hubble:
        agents["hubble"] = {key: value for key, value in hubble.items() if key not in HUBBLE_PODS}
        # Same as without the key: enabling the relay restarts no agent.
        if not agents["hubble"]:
            del agents["hubble"]
    source = {} if mirror is None else {"mirror": mirror}
    return digest({"version": version, "values": agents, **source})


def digest(value: Any) -> str:
    """Return sha256:… of a JSON value, independent of the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return both merged as by Helm: maps key by key; anything else, including lists, is replaced."""
    result = dict(base)
    for key, value in override.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the spec does not set: a null would erase the chart's default."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }
