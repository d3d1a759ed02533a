"""CiliumNodeConfigs that override what the operator sets: the agents of some nodes would read something else."""

from collections.abc import Iterator
from typing import Final

from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.rule import one_line
from cilium_hybrid.rules.text import list_names

_IPAM_KEYS: Final = frozenset({"ipam", "cluster-pool-ipv4-cidr", "cluster-pool-ipv4-mask-size"})
_OWNED_KEYS: Final = _IPAM_KEYS | {"enable-ipv4-masquerade", "enable-service-topology", "kube-proxy-replacement"}
"""Keys of `cilium-config` that come from values that only the operator sets."""


def node_config_findings(observation: Observation) -> Iterator[str]:
    """Report every CiliumNodeConfig that sets such a key, in one sentence."""
    if found := _overrides(observation, _OWNED_KEYS):
        yield one_line(f"{found}; these keys belong to the operator: remove them from the CiliumNodeConfig")


def ipam_override(observation: Observation) -> str | None:
    """Return why no agent may be restarted: it would start with IPAM settings other than those of the release."""
    if found := _overrides(observation, _IPAM_KEYS):
        return one_line(f"{found}; an agent that restarts would use other IPAM settings: remove these keys")
    return None


def _overrides(observation: Observation, keys: frozenset[str]) -> str:
    found = [
        f"{config.name} ({', '.join(set_keys)})"
        for config in sorted(observation.node_configs, key=lambda config: config.name)
        if (set_keys := sorted(keys & set(config.keys)))
    ]
    if len(found) == 1:
        return f"CiliumNodeConfig {found[0]} overrides settings of the release"
    return f"CiliumNodeConfigs {list_names(found)} override settings of the release" if found else ""
