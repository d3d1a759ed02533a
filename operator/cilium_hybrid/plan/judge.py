"""From what was observed to what the rules judge: a spec, what runs, and the cluster around both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.plan.observation import Observation, Survey
from cilium_hybrid.plan.release import last_deployed, running
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.minors import is_at_least
from cilium_hybrid.rules.spec import Verdict, judge_spec
from cilium_hybrid.rules.surroundings import Case, Surroundings, judge_case
from cilium_hybrid.rules.written import read_spec

_NOT_LOOKED_UP: Final = Survey()


@dataclass(frozen=True, slots=True)
class Question:
    """What a survey is asked: who has addresses in `networks` (first and last), and the like."""

    networks: tuple[tuple[int, int], ...] = ()
    peering_policies: bool = False
    revision: int | None = None


def question(raw: object, observation: Observation) -> Question | None:
    """What must be known, and is not watched, before this spec is applied; None where nothing is."""
    spec, runs = read_spec(raw), running(observation)
    added = [network for cidr, network in spec.pools() if cidr.text not in runs.pod_cidrs]
    deployed = last_deployed(observation)
    unknown = deployed is not None and deployed.ours and not runs.pod_cidrs
    asked = Question(
        networks=tuple((int(network.network_address), int(network.broadcast_address)) for network in added),
        peering_policies=spec.version is not None
        and is_at_least(spec.version, "1.19")
        and runs.version != str(spec.version),
        revision=deployed.number if deployed is not None and unknown else None,
    )
    return None if asked == Question() else asked


def judge(
    raw: object, observation: Observation, survey: Survey | None, registries: Sequence[str], *, ours: bool = True
) -> Verdict:
    """Every rule, on everything that is known. Not `ours`: the Cilium that runs is somebody else's."""
    looked_up = survey or _NOT_LOOKED_UP
    runs = running(observation, looked_up.released_pool) if ours else Running()
    return judge_spec(raw, runs, registries) + judge_case(
        Case(read_spec(raw), runs, _surroundings(observation, looked_up))
    )


def _surroundings(observation: Observation, survey: Survey) -> Surroundings:
    nodes = observation.nodes
    return Surroundings(
        taken=[*(taken for node in nodes.values() for taken in node.addresses), *observation.taken, *survey.pods],
        blocks={name: node.pod_cidrs for name, node in observation.cilium_nodes.items()},
        kernels={name: node.kernel for name, node in nodes.items()},
        foreign_cni={pod.node: pod.name for pod in observation.foreign_pods if pod.node in nodes},
        peering_policies=survey.peering_policies,
    )
