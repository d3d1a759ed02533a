"""What is remembered of the nodes from one reconciliation to the next, beside the record of the rollout."""

from collections.abc import Mapping

from cilium_hybrid.plan.observation import AgentPod, HybridNode, Observation
from cilium_hybrid.plan.record import RestartedNode


def advance_timers(observation: Observation, unready_for: Mapping[str, float], elapsed: float) -> Mapping[str, float]:
    """Return for how many seconds the agent of each connected node has not been Ready, without interruption.

    `unready_for` is what the previous reconciliation returned, `elapsed` the seconds that count since then. A node
    begins at 0 when its agent is first seen not Ready, and again after it was disconnected.
    """
    return {
        name: unready_for[name] + elapsed if name in unready_for else 0.0
        for name, node in observation.nodes.items()
        if node.ready != "Unknown" and not _is_ready(observation.agents.get(name))
    }


def healthy_outdated(
    observation: Observation, digest: str | None, before: Mapping[str, RestartedNode]
) -> Mapping[str, RestartedNode]:
    """Return the connected nodes whose agent is Ready and runs another configuration, as if it was restarted now.

    `before` is what the previous reconciliation returned. A pod that was there before its node rebooted may still be
    shown as Ready, so such a node keeps its earlier boot ID, and is no evidence.
    """
    now = {
        name: restarted_node(observation, node, agent, healthy=True)
        for name, node in observation.nodes.items()
        if node.ready != "Unknown"
        and (agent := observation.agents.get(name)) is not None
        and agent.ready
        and agent.config_digest != digest
    }
    rebooted = {
        name: known
        for name, node in now.items()
        if (known := before.get(name)) is not None and known.pod_uid == node.pod_uid and known.boot_id != node.boot_id
    }
    return {**now, **rebooted}


def still_replaced(
    observation: Observation, healthy_before: Mapping[str, RestartedNode]
) -> Mapping[str, RestartedNode]:
    """Return the nodes that were healthy and whose pod is gone since, while no rollout is planned that notes it."""
    agents, nodes = observation.agents, observation.nodes
    return {
        name: node
        for name, node in healthy_before.items()
        if name in nodes
        and nodes[name].uid == node.node_uid
        and (name not in agents or agents[name].uid != node.pod_uid)
    }


def restarted_node(
    observation: Observation, node: HybridNode, agent: AgentPod | None, *, healthy: bool
) -> RestartedNode:
    """Return a node as it is when its agent is restarted."""
    return RestartedNode(
        pod_uid="" if agent is None else agent.uid,
        node_uid=node.uid,
        boot_id=node.boot_id,
        kernel=node.kernel,
        kubelet=node.kubelet,
        runtime=node.runtime,
        healthy=healthy,
        sandbox_failing=node.name in observation.sandbox_failures,
    )


def _is_ready(agent: AgentPod | None) -> bool:
    return agent is not None and agent.ready
