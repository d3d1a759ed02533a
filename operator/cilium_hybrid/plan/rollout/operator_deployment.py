"""How Cilium's next operator gets a place, and why it has none.

Two of them never share a node, so on a single one the old must go first.
"""

from collections.abc import Mapping
from typing import Any, Final

from cilium_hybrid.plan.observation import Observation

CILIUM_OPERATOR: Final = "Deployment cilium-operator"
"""As its pods name it."""
_PLACES: Final = 2
"""The old operator keeps one while the new one starts on the other."""
_OLD_GOES_FIRST: Final[dict[str, Any]] = {"rollingUpdate": {"maxUnavailable": "100%"}}


def has_one_place(observation: Observation) -> bool:
    """Whether no second node could take Cilium's operator: one that is cordoned or does not report takes none.

    Before a node has joined nothing is known of that.
    """
    places = sum(node.ready != "Unknown" and not node.cordoned for node in observation.nodes.values())
    return bool(observation.nodes) and places < _PLACES


def with_the_old_going_first(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with what the chart itself does for a single replica alone. A strategy of the user's stays."""
    operator = values["operator"]
    if "updateStrategy" in operator:
        return dict(values)
    return {**values, "operator": {**operator, "updateStrategy": _OLD_GOES_FIRST}}


def without_the_old_going_first(released: Mapping[str, Any]) -> dict[str, Any]:
    """Released values as the spec led to them: what was added for the moment is no change when it goes."""
    operator = released.get("operator")
    if not isinstance(operator, Mapping) or operator.get("updateStrategy") != _OLD_GOES_FIRST:
        return dict(released)
    return {**released, "operator": {key: value for key, value in operator.items() if key != "updateStrategy"}}


def with_its_trouble(waiting: str, observation: Observation) -> str:
    """What waits for Cilium's operator, with the words of a pod of it that does not run, where one has any."""
    pods = (pod for pod in observation.other_pods if pod.workload == CILIUM_OPERATOR and pod.failure_message)
    # That a second replica has no place on a single node is no news.
    told = min(pods, key=lambda pod: (not pod.node, pod.name), default=None)
    return waiting if told is None else f"{waiting} (pod {told.name}: {told.failure_message})"
