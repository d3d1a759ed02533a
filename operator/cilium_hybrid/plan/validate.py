"""The validation of a spec against the observed cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.plan.observation import Lookups, Observation
from cilium_hybrid.plan.release import last_deployed, running
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.cluster import BGP_PEERING_POLICY, ClusterFacts, ClusterRuleInput, validate_in_cluster
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.spec import ValidationResult, validate_spec
from cilium_hybrid.rules.supported_minors import minor_of

_NO_LOOKUPS: Final = Lookups()


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """What to look up before a change: pods with an address in one of `networks`, and the like.

    `networks` are pairs of the first and the last address. `revision` is the one whose values are to be read.
    """

    networks: tuple[tuple[int, int], ...] = ()
    peering_policies: bool = False
    revision: int | None = None


def lookup_request(spec: LenientSpec, observation: Observation) -> LookupRequest | None:
    """Return what must be known before this spec is applied but is not watched; None if nothing is missing."""
    runs = running(observation)
    added = [network for cidr, network in spec.pools() if cidr.text not in runs.pod_cidrs]
    deployed = last_deployed(observation)
    pool_unknown = deployed is not None and deployed.managed and not runs.pod_cidrs
    request = LookupRequest(
        networks=tuple((int(network.network_address), int(network.broadcast_address)) for network in added),
        peering_policies=spec.version is not None
        and BGP_PEERING_POLICY in minor_of(spec.version).removed_crds
        and runs.version != str(spec.version),
        revision=deployed.number if deployed is not None and pool_unknown else None,
    )
    return None if request == LookupRequest() else request


def validate(
    raw: object,
    spec: LenientSpec,
    observation: Observation,
    lookups: Lookups | None,
    registries: Sequence[str],
    *,
    managed: bool = True,
) -> ValidationResult:
    """Apply every rule to a spec, of which `raw` is the JSON.

    `registries` are the registries that charts may come from; any if empty. `managed`: the Cilium that runs, if any, is
    the operator's.
    """
    known = lookups or _NO_LOOKUPS
    runs = running(observation, known.released_pool) if managed else Running()
    facts = _cluster_facts(observation, known)
    return validate_spec(raw, spec, runs, registries) + validate_in_cluster(ClusterRuleInput(spec, runs, facts))


def _cluster_facts(observation: Observation, lookups: Lookups) -> ClusterFacts:
    nodes = observation.nodes
    return ClusterFacts(
        used_addresses=[
            *(used for node in nodes.values() for used in node.addresses),
            *observation.taken,
            *lookups.pods,
        ],
        blocks={name: node.pod_cidrs for name, node in observation.cilium_nodes.items()},
        kernels={name: node.kernel for name, node in nodes.items()},
        max_pods={name: node.max_pods for name, node in nodes.items() if node.max_pods is not None},
        foreign_cni={pod.node: pod.name for pod in observation.foreign_pods if pod.node in nodes},
        peering_policies=lookups.peering_policies,
    )
