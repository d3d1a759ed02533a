"""What is out of order in the cluster and blocks nothing: told with what to do about it."""

from collections.abc import Iterator, Sequence

from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.rollout.operator_deployment import with_its_trouble
from cilium_hybrid.plan.status.ipam import IpamUsage
from cilium_hybrid.rules.text import list_names


def findings(
    observation: Observation, ipam: IpamUsage | None, certificates: Sequence[str] = (), drift: Sequence[str] = ()
) -> tuple[str, ...]:
    """A sentence for each kind of finding, in an order that stands still; what runs short comes first.

    There are no more kinds than the status has room for.
    """
    overlaps = () if ipam is None else ipam.findings
    return (*_forecast(ipam), *_operator(observation), *certificates, *drift, *_on_cloud_nodes(observation), *overlaps)


def _forecast(ipam: IpamUsage | None) -> tuple[str, ...]:
    return (ipam.forecast,) if ipam is not None and ipam.forecast else ()


def _operator(observation: Observation) -> Iterator[str]:
    """One that starts is no finding; one whose pod is in trouble hands out no block."""
    operator = observation.cilium_operator
    if operator is None or operator.available or not observation.nodes:
        return
    says = "no Cilium operator is available"
    if (told := with_its_trouble(says, observation)) != says:
        yield f"{told}: a node that joins gets no pod addresses until one is: see its log, or change what it is given"


def _on_cloud_nodes(observation: Observation) -> Iterator[str]:
    """Another CNI runs there: two of them take the pods' traffic from one another."""
    cloud = observation.cloud_nodes
    agents = sorted((pod.node, pod.name) for pod in observation.agents.values() if pod.node in cloud)
    if agents:
        told = list_names([f"{name} on {node}" for node, name in agents])
        yield f"agents on cloud nodes: {told}: see that the node affinity of DaemonSet cilium is the released one"
    others = sorted((pod.node, pod.name, pod.workload) for pod in observation.other_pods if pod.node in cloud)
    if others:
        told = list_names([f"{name} on {node}" for node, name, _ in others])
        placed = f"the node affinity of {', '.join(sorted({workload for *_, workload in others}))}"
        yield f"other pods of Cilium on cloud nodes: {told}: see that {placed} is the released one"
    cilium_nodes = sorted(name for name in observation.cilium_nodes if name in cloud)
    if cilium_nodes:
        yield f"CiliumNodes of cloud nodes: {list_names(cilium_nodes)}: delete them once no agent is there"
