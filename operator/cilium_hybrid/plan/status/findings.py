"""Findings: problems in the cluster that block nothing, each with what to do about it."""

from collections.abc import Iterator, Sequence

from cilium_hybrid.api.status import MAX_FINDINGS
from cilium_hybrid.plan.classify import ReleaseClass, classify
from cilium_hybrid.plan.node_configs import node_config_findings
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.rollout.operator_deployment import with_operator_failure
from cilium_hybrid.plan.status.ipam import IpamUsage
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE
from cilium_hybrid.rules.text import list_names


def findings(
    observation: Observation,
    ipam: IpamUsage | None,
    certificates: Sequence[str] = (),
    drift: Sequence[str] = (),
    rollout: Sequence[str] = (),
    *,
    rebuilt: bool = False,
) -> tuple[str, ...]:
    """Return the findings, a sentence each and the most important first, as many as `status.findings` holds.

    `rollout` are those of the rollout. `rebuilt`: the record was lost.
    """
    inconsistent = () if ipam is None else ipam.findings
    found = (
        *_forecast(ipam),
        *_operator(observation),
        *_record_lost(rebuilt=rebuilt),
        *rollout,
        *certificates,
        *inconsistent,
        *_on_cloud_nodes(observation),
        *node_config_findings(observation),
        *drift,
        *_clocks(observation),
    )
    if len(found) <= MAX_FINDINGS:
        return found
    shown = found[: MAX_FINDINGS - 1]
    return (*shown, f"and {len(found) - len(shown)} more findings; correct those above to see them")


def _record_lost(*, rebuilt: bool) -> Iterator[str]:
    if rebuilt:
        yield (
            "RecordLost: ConfigMap kube-system/cilium-hybrid-applied was missing and is rebuilt from what runs; no "
            "minor version is entered until all agents are healthy"
        )


def _clocks(observation: Observation) -> Iterator[str]:
    skewed = sorted((-node.clock_skew, name) for name, node in observation.nodes.items() if node.clock_skew)
    if skewed:
        names = list_names([f"{name} (by {-minutes} min)" for minutes, name in skewed])
        yield f"clocks that differ from the API server's: {names}; check the time synchronization of the nodes"


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
    """Cloud nodes run another CNI, and two CNIs on a node break its pod network.

    Where someone else's release belongs is not known.
    """
    release = classify(observation)
    if release.foreign or release is ReleaseClass.NOT_OWNED:
        return
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
        yield (
            f"nodes without the label {HYBRID_LABEL}={HYBRID_VALUE} with a CiliumNode, whose block counts as used: "
            f"{list_names(cilium_nodes)}; label them, or delete their CiliumNodes once no agent runs there"
        )
