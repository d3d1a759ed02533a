"""From a spec to Helm values, the same bytes for the same spec."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from cilium_hybrid.api.v1alpha1 import Rollout, RolloutStrategy, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE

CONFIG_DIGEST: Final = "ciliumhybrid.io/config-digest"
HUBBLE_PODS: Final = ("relay", "ui")
"""Parts of Hubble with pods of their own; the agents read nothing of theirs."""

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
    """The whole values of release `cilium`; nothing of a former revision is reused.

    `initial_series` is the minor release first installed in this cluster, X.Y; None for a first install.
    Source: AWS guide "Configure CNI for hybrid nodes"; for upgradeCompatibility, Cilium's upgrade guide.
    """
    owned = merged(_owned(spec, initial_series), _hubble_placed(spec.values))
    values = merged(spec.values, {**_without_nothing(owned), **pull_secrets(spec)})
    return merged(
        values, {"podAnnotations": {CONFIG_DIGEST: config_digest(spec.version, values, spec.registry_mirror)}}
    )


def pull_secrets(spec: Spec) -> dict[str, Any]:
    """The value of spec.imagePullSecrets, for either release; nothing where the spec names none."""
    named = [{"name": secret.name} for secret in spec.image_pull_secrets]
    return {"imagePullSecrets": named} if named else {}


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
        # A string: charts before 1.18 take no boolean here.
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
        # The chart's own checksum is of the whole cilium-config: an appended CIDR would restart every agent.
        "rollOutCiliumPods": False,
        "upgradeCompatibility": initial_series or CiliumVersion.parse(spec.version).series,
    }


def _hubble_placed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hubble's relay and UI on hybrid nodes, where they are on: values that do not name them stay as they are."""
    hubble = values.get("hubble")
    parts = {name: hubble.get(name) for name in HUBBLE_PODS} if isinstance(hubble, Mapping) else {}
    on = [name for name, part in parts.items() if isinstance(part, Mapping) and part.get("enabled") is True]
    return {"hubble": {name: {"affinity": _HYBRID_NODES} for name in on}} if on else {}


def _update_strategy(rollout: Rollout) -> dict[str, Any]:
    if rollout.strategy is RolloutStrategy.GATED:
        return {"type": "OnDelete"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": rollout.max_unavailable}}


def config_digest(version: str, values: Mapping[str, Any], mirror: str | None = None) -> str:
    """Digest of what the agents read: it changes when they must restart, and only then.

    Left out is what others alone read: the values of Cilium's operator, the pools that it cuts blocks from, the
    values of Hubble's relay and UI, and how the agents' DaemonSet is updated. `mirror` is where their images come from.
    """
    agents: dict[str, Any] = {key: value for key, value in values.items() if key not in {"operator", "updateStrategy"}}
    agents["ipam"] = {key: value for key, value in values["ipam"].items() if key != "operator"}
    hubble = values.get("hubble")
    if isinstance(hubble, Mapping) and hubble:
        agents["hubble"] = {key: value for key, value in hubble.items() if key not in HUBBLE_PODS}
        # As if it had never been named: to turn the relay on restarts no agent.
        if not agents["hubble"]:
            del agents["hubble"]
    source = {} if mirror is None else {"mirror": mirror}
    return digest({"version": version, "values": agents, **source})


def digest(value: Any) -> str:
    """sha256:… of a JSON value, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Maps merged key by key, anything else replaced: lists are never joined."""
    made = dict(under)
    for key, value in over.items():
        below = made.get(key)
        made[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return made


def _without_nothing(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the spec does not say: a null would erase the chart's default."""
    return {
        key: _without_nothing(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }
