"""The validation of a spec against the observed cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.plan.observation import CILIUM, Lookups, Observation
from cilium_hybrid.plan.release import NAMESPACE, RELEASE
from cilium_hybrid.plan.running import running
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.cluster import BGP_PEERING_POLICY, validate_in_cluster
from cilium_hybrid.rules.cluster_facts import ClusterFacts, ClusterRuleInput
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.spec import ValidationResult, validate_spec
from cilium_hybrid.rules.supported_minors import minor_of

_NO_LOOKUPS: Final = Lookups()


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """What to look up before a change: pods with an address in one of `networks`, and the like.

    `networks` are pairs of the first and the last address.
    """

    networks: tuple[tuple[int, int], ...] = ()
    peering_policies: bool = False


def lookup_request(spec: LenientSpec, observation: Observation) -> LookupRequest | None:
    """Return what must be known before this spec is applied but is not watched; None if nothing is missing."""
    runs = running(observation, _pools(spec))
    added = [network for _, network in spec.pools() if str(network) not in runs.pod_cidrs]
    request = LookupRequest(
        networks=tuple((int(network.network_address), int(network.broadcast_address)) for network in added),
        peering_policies=spec.version is not None
        and BGP_PEERING_POLICY in minor_of(spec.version).removed_crds
        and runs.version != str(spec.version),
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
    the operator's. If it is not, neither it nor the CiliumNodes, which its nodes need, say anything about this spec.
    """
    known = lookups or _NO_LOOKUPS
    managed = managed and (observation.installed or not other_ciliums(observation))
    runs = running(observation, _pools(spec)) if managed else Running()
    facts = _cluster_facts(observation, known, managed=managed)
    return validate_spec(raw, spec, runs, registries) + validate_in_cluster(ClusterRuleInput(spec, runs, facts))


def other_ciliums(observation: Observation) -> list[str]:
    """Return the Ciliums in which the operator has no part, by their DaemonSets."""
    found = [item.title for item in observation.foreign_objects if item.cni == CILIUM]
    # A request to retry is recorded too, so only a record of a revision says that the DaemonSet is the operator's.
    recorded = observation.record is not None and observation.record.revision > 0
    if observation.agent_set is not None and observation.newest is None and not recorded:
        found.append(f"DaemonSet {NAMESPACE}/{RELEASE}, without a Helm release")
    return found


def _pools(spec: LenientSpec) -> list[str]:
    return [cidr.text for cidr, _ in spec.pools()]


def _cluster_facts(observation: Observation, lookups: Lookups, *, managed: bool) -> ClusterFacts:
    nodes = observation.nodes
    return ClusterFacts(
        used_addresses=[
            *(used for node in nodes.values() for used in node.addresses),
            *observation.taken,
            *lookups.pods,
        ],
        blocks={name: node.pod_cidrs for name, node in observation.cilium_nodes.items()} if managed else {},
        kernels={name: node.kernel for name, node in nodes.items()},
        max_pods={name: node.max_pods for name, node in nodes.items() if node.max_pods is not None},
        foreign_cni={pod.node: pod.name for pod in observation.foreign_pods if pod.node in nodes},
        foreign_objects=[f"{item.title} ({item.cni})" for item in observation.foreign_objects if item.cni != CILIUM],
        other_ciliums=other_ciliums(observation),
        peering_policies=lookups.peering_policies,
    )
