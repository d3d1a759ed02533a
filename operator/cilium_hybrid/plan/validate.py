"""From what was observed to what the rules judge: a spec, what runs, and the cluster around both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.plan.observation import Lookups, Observation
from cilium_hybrid.plan.release import last_deployed, running
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.cluster import ClusterFacts, SpecInCluster, validate_in_cluster
from cilium_hybrid.rules.lenient_spec import read_lenient_spec
from cilium_hybrid.rules.spec import ValidationResult, validate_spec
from cilium_hybrid.rules.supported_minors import is_at_least

_NO_LOOKUPS: Final = Lookups()


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """What a survey is asked: who has addresses in `networks` (first and last), and the like."""

    networks: tuple[tuple[int, int], ...] = ()
    peering_policies: bool = False
    revision: int | None = None


def lookup_request(raw: object, observation: Observation) -> LookupRequest | None:
    """What must be known, and is not watched, before this spec is applied; None where nothing is."""
    spec, runs = read_lenient_spec(raw), running(observation)
    added = [network for cidr, network in spec.pools() if cidr.text not in runs.pod_cidrs]
    deployed = last_deployed(observation)
    unknown = deployed is not None and deployed.managed and not runs.pod_cidrs
    asked = LookupRequest(
        networks=tuple((int(network.network_address), int(network.broadcast_address)) for network in added),
        peering_policies=spec.version is not None
        and is_at_least(spec.version, "1.19")
        and runs.version != str(spec.version),
        revision=deployed.number if deployed is not None and unknown else None,
    )
    return None if asked == LookupRequest() else asked


def validate(
    raw: object, observation: Observation, lookups: Lookups | None, registries: Sequence[str], *, managed: bool = True
) -> ValidationResult:
    """Every rule, on everything that is known. Not `ours`: the Cilium that runs is somebody else's."""
    looked_up = lookups or _NO_LOOKUPS
    runs = running(observation, looked_up.released_pool) if managed else Running()
    return validate_spec(raw, runs, registries) + validate_in_cluster(
        SpecInCluster(read_lenient_spec(raw), runs, _cluster_facts(observation, looked_up))
    )


def _cluster_facts(observation: Observation, lookups: Lookups) -> ClusterFacts:
    nodes = observation.nodes
    return ClusterFacts(
        taken=[*(taken for node in nodes.values() for taken in node.addresses), *observation.taken, *lookups.pods],
        blocks={name: node.pod_cidrs for name, node in observation.cilium_nodes.items()},
        kernels={name: node.kernel for name, node in nodes.items()},
        foreign_cni={pod.node: pod.name for pod in observation.foreign_pods if pod.node in nodes},
        peering_policies=lookups.peering_policies,
    )
