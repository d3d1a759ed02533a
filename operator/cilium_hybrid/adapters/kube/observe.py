"""Put together the observation of one reconciliation from the facts of all watches."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from cilium_hybrid.adapters.kube import pod_facts
from cilium_hybrid.adapters.kube.event_facts import newest_create_failure, sandbox_failures
from cilium_hybrid.adapters.kube.preflight_facts import CheckPod, scheduled_pods
from cilium_hybrid.adapters.kube.watches import CRD_NAME, RECORD_NAME, SECRETS_NAMESPACE, WATCHES, Watch
from cilium_hybrid.plan.observation import AgentPod, Observation, PreflightObservation

Fact = TypeVar("Fact")


class Facts(Protocol):
    """Returns the facts of a watch by object name, as they are now."""

    def __call__(self, watch: Watch[Fact], /) -> Mapping[str, Fact]:
        """Return the facts of a watch."""


def observe(
    facts: Facts, preflight: Callable[[Iterable[CheckPod]], PreflightObservation], lost_watches: tuple[str, ...]
) -> Observation:
    """Return the cluster as the watches last saw it; what they see later does not change it."""
    all_pods = facts(WATCHES.pods).values()
    agents = [pod for pod in all_pods if isinstance(pod, AgentPod)]
    other_pods, nodes = facts(WATCHES.other_pods).values(), dict(facts(WATCHES.nodes))
    checks = [pod for pod in all_pods if isinstance(pod, CheckPod)]
    addresses = (WATCHES.cloud_nodes, WATCHES.service_cidrs, WATCHES.kubernetes_service)
    agent_set = facts(WATCHES.agent_set).get("cilium")
    operator, revision = facts(WATCHES.cilium_operator).get("cilium-operator", (None, ""))
    record, _ = facts(WATCHES.record).get(RECORD_NAME, (None, ""))
    pool, config_version = facts(WATCHES.config).get("cilium-config", (None, ""))
    templates = (hashed for hashed, of in facts(WATCHES.operator_templates).values() if revision and of == revision)
    return Observation(
        revisions=tuple(sorted(facts(WATCHES.revisions).values(), key=lambda found: found.number)),
        record=record,
        pool=pool,
        agent_set=agent_set,
        cilium_operator=operator and pod_facts.with_pods(operator, next(templates, ""), other_pods),
        nodes=nodes,
        agents=pod_facts.agents_by_node(agents),
        unplaced=pod_facts.unplaced_agents(all_pods),
        unplaced_pods=pod_facts.unplaced_pods(all_pods),
        terminating_agents=pod_facts.terminating_agents(agents),
        agent_create_failure=newest_create_failure(
            facts(WATCHES.create_failures).values(), (pod.created_at for pod in agents)
        ),
        sandbox_failures=sandbox_failures(facts(WATCHES.sandbox_events).values(), nodes),
        cilium_nodes=dict(facts(WATCHES.cilium_nodes)),
        taken=tuple(address for watch in addresses for found in facts(watch).values() for address in found),
        foreign_pods=tuple(facts(WATCHES.foreign_pods).values()),
        foreign_objects=tuple(facts(WATCHES.daemon_sets).values()),
        node_configs=tuple(facts(WATCHES.node_configs).values()),
        nodes_with_agent_pods=frozenset(pod.node for pod in agents),
        secrets_namespace_terminating=facts(WATCHES.secrets_namespace).get(SECRETS_NAMESPACE, False),
        definition_terminating=facts(WATCHES.own_crd).get(CRD_NAME, False),
        preflight=preflight(checks),
        cloud_nodes=frozenset(facts(WATCHES.cloud_nodes)),
        other_pods=(*(other.pod for other in other_pods), *scheduled_pods(checks)),
        certificates=tuple(found for watch in WATCHES.certificates for found in facts(watch).values()),
        edits=(agent_set and agent_set.generation, operator and operator.generation, config_version),
        lost_watches=lost_watches,
    )
