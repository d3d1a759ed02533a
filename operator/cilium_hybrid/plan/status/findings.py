"""Findings: problems in the cluster that block nothing, each with what to do about it."""

from collections.abc import Iterator, Sequence

from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.rollout.operator_deployment import with_operator_failure
from cilium_hybrid.plan.status.ipam import IpamUsage
from cilium_hybrid.rules.text import list_names


def findings(
    observation: Observation, ipam: IpamUsage | None, certificates: Sequence[str] = (), drift: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return a sentence for each kind of finding, in a stable order: what runs out comes first.

    There are no more kinds than `status.findings` holds.
    """
    inconsistent = () if ipam is None else ipam.findings
    return (
        *_forecast(ipam),
        *_operator(observation),
        *certificates,
        *drift,
        *_on_cloud_nodes(observation),
        *inconsistent,
    )


def _forecast(ipam: IpamUsage | None) -> tuple[str, ...]:
    return (ipam.forecast,) if ipam is not None and ipam.forecast else ()


def _operator(observation: Observation) -> Iterator[str]:
    """Report a Cilium operator whose pod has failed and so assigns no pod CIDR; a starting one is no finding."""
    operator = observation.cilium_operator
    if operator is None or operator.available or not observation.nodes:
        return
    message = "no replica of the Cilium operator is available"
    if (failure := with_operator_failure(message, observation)) != message:
        yield f"{failure}, so nodes that join get no pod CIDR; check its logs and its values"


def _on_cloud_nodes(observation: Observation) -> Iterator[str]:
    """Cloud nodes run another CNI, and two CNIs on a node break its pod network."""
    cloud = observation.cloud_nodes
    agents = sorted((pod.node, pod.name) for pod in observation.agents.values() if pod.node in cloud)
    if agents:
        names = list_names([f"{name} on {node}" for node, name in agents])
        yield f"agents on cloud nodes: {names}; restore the node affinity of DaemonSet cilium"
    others = sorted((pod.node, pod.name, pod.workload) for pod in observation.other_pods if pod.node in cloud)
    if others:
        names = list_names([f"{name} on {node}" for node, name, _ in others])
        workloads = ", ".join(sorted({workload for *_, workload in others}))
        yield f"other Cilium pods on cloud nodes: {names}; restore the node affinity of {workloads}"
    cilium_nodes = sorted(name for name in observation.cilium_nodes if name in cloud)
    if cilium_nodes:
        yield f"CiliumNodes of cloud nodes: {list_names(cilium_nodes)}; delete them once no agent runs there"
