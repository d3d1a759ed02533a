"""How the Cilium operator's new replica is scheduled, and why it does not run.

The chart's anti-affinity keeps two replicas off one node: on a single node, the old one must stop first.
"""

from collections.abc import Mapping
from typing import Any, Final

from cilium_hybrid.plan.observation import Observation

CILIUM_OPERATOR: Final = "Deployment cilium-operator"
"""The Deployment, in the form of `CiliumPod.workload`."""
_NODES_FOR_SURGE: Final = 2
"""The old replica keeps one node while the new one starts on the other."""
_STOP_OLD_FIRST: Final[dict[str, Any]] = {"rollingUpdate": {"maxUnavailable": "100%"}}


def has_single_operator_node(observation: Observation) -> bool:
    """Whether at most one node can run the Cilium operator: not those that are cordoned or disconnected.

    False before the first node has joined, since nothing is known then.
    """
    schedulable = sum(node.ready != "Unknown" and not node.cordoned for node in observation.nodes.values())
    return bool(observation.nodes) and schedulable < _NODES_FOR_SURGE


def with_old_operator_stopped_first(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the update strategy that the chart itself only sets for a single replica.

    A strategy in the user's values stays.
    """
    operator = values["operator"]
    if "updateStrategy" in operator:
        return dict(values)
    return {**values, "operator": {**operator, "updateStrategy": _STOP_OLD_FIRST}}


def without_old_operator_stopped_first(released: Mapping[str, Any]) -> dict[str, Any]:
    """Return released values without that strategy, so that its removal does not count as a change."""
    operator = released.get("operator")
    if not isinstance(operator, Mapping) or operator.get("updateStrategy") != _STOP_OLD_FIRST:
        return dict(released)
    return {**released, "operator": {key: value for key, value in operator.items() if key != "updateStrategy"}}


def waiting_for_operator(observation: Observation) -> str:
    """Return what is awaited from a Cilium operator that is not available or not up to date, and why it is not."""
    operator = observation.cilium_operator
    if operator is None:
        return "waiting for the Cilium operator to be created"
    waiting = f"waiting for the Cilium operator: {operator.available} of {operator.replicas} replicas available"
    if operator.available:
        waiting += ", not all of them up to date"
    return with_operator_failure(waiting, observation)


def with_operator_failure(message: str, observation: Observation) -> str:
    """Return the message, followed by why a pod of the Cilium operator does not run if one has a failure."""
    pods = (pod for pod in observation.other_pods if pod.workload == CILIUM_OPERATOR and pod.failure_message)
    # Scheduled pods first: on a single node it is normal that a second replica cannot be scheduled.
    failed = min(pods, key=lambda pod: (not pod.node, pod.name), default=None)
    return message if failed is None else f"{message} (pod {failed.name}: {failed.failure_message})"
