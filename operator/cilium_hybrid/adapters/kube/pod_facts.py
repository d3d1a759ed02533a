"""Convert raw pods to facts, which hold only what the operator needs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cilium_hybrid.adapters.kube.facts import (
    TEMPLATE_HASH_LABEL,
    find_raw_condition,
    parse_time,
    ready_since,
    terminating,
)
from cilium_hybrid.adapters.kube.pod_failure import (
    crash_message,
    exits,
    failure_message,
    image_failing,
    keep_pull_error,
    shorten,
)
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import AgentPod, CiliumOperator, CiliumPod, ForeignPod, UnplacedAgent
from cilium_hybrid.plan.values import CONFIG_DIGEST

Raw = Mapping[str, Any]

APP_NAME_LABEL: Final = "app.kubernetes.io/name"
OPERATOR_APP: Final = "cilium-operator"
WORKLOADS: Final = {"cilium-envoy": "DaemonSet cilium-envoy", OPERATOR_APP: "Deployment cilium-operator"}
"""The workloads of other Cilium pods, by the value of APP_NAME_LABEL."""
_AGENT_CONTAINER: Final = "cilium-agent"
_TAG: Final = re.compile(r":v?([^:/@]+)(?:@.*)?")
_REQUIRED_NODE_AFFINITY: Final = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
_FINISHED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class OtherPod:
    """A pod of Cilium that is not an agent. `template` is the hash of its template, empty if it is of a DaemonSet.

    `exits` and `image_failing` as in AgentPod.
    """

    pod: CiliumPod
    template: str = ""
    ready: bool = False
    exits: int = 0
    image_failing: bool = False


def foreign_pod(raw: Raw) -> ForeignPod | None:
    """Return the fact of another CNI's pod; None if it is not scheduled or has finished."""
    node, phase = (raw.get("spec") or {}).get("nodeName"), (raw.get("status") or {}).get("phase")
    if not node or phase in _FINISHED:
        return None
    return ForeignPod(f"{raw['metadata']['namespace']}/{raw['metadata']['name']}", str(node))


def cilium_pod(raw: Raw) -> OtherPod | None:
    """Return the fact of a pod of the Cilium operator or Envoy; None if it is terminating or has finished."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    if status.get("phase") in _FINISHED or terminating(raw):
        return None
    node, workload = str((raw.get("spec") or {}).get("nodeName") or ""), WORKLOADS[metadata["labels"][APP_NAME_LABEL]]
    ready = find_raw_condition(raw, "Ready").get("status") == "True"
    message = "" if ready else failure_message(status) or crash_message(status) or scheduling_failure(raw)
    return OtherPod(
        CiliumPod(str(metadata["name"]), node, workload, message),
        str(metadata["labels"].get(TEMPLATE_HASH_LABEL, "")),
        ready,
        exits(status),
        image_failing(status),
    )


def merge_cilium_pod(before: OtherPod, now: OtherPod) -> OtherPod:
    """Return the new fact of a pod with the most detailed message of a failing image pull."""
    message = keep_pull_error(before.pod.failure_message, now.pod.failure_message)
    if message == now.pod.failure_message:
        return now
    return replace(now, pod=replace(now.pod, failure_message=message), image_failing=before.image_failing)


def with_pods(operator: CiliumOperator, template: str, pods: Iterable[OtherPod]) -> CiliumOperator:
    """Return the Cilium operator with what its pods show; `template` is the hash of its present template.

    If that is empty, no pod of it exists yet.
    """
    of_operator = [pod for pod in pods if pod.pod.workload == WORKLOADS[OPERATOR_APP]]
    present = sorted((pod for pod in of_operator if pod.template == template), key=lambda pod: pod.pod.name)
    return replace(
        operator,
        exits=max((pod.exits for pod in present), default=0),
        image_failing=any(pod.image_failing for pod in present),
        failure_message=next((pod.pod.failure_message for pod in present if pod.pod.failure_message), ""),
        outdated_available=any(pod.ready for pod in of_operator if pod.template != template),
    )


def agent_pod(raw: Raw) -> AgentPod | UnplacedAgent | None:
    """Return the fact of an agent pod; None if the scheduler has not tried to schedule it yet."""
    metadata, node = raw["metadata"], (raw.get("spec") or {}).get("nodeName")
    if not node:
        target, cause = target_node(raw.get("spec") or {}), scheduling_failure(raw)
        if not target or not cause:
            return None
        digest = (metadata.get("annotations") or {}).get(CONFIG_DIGEST)
        return UnplacedAgent(target, cause, str(metadata["name"]), str(metadata.get("uid") or ""), digest)
    status, ready = raw.get("status") or {}, find_raw_condition(raw, "Ready")
    return AgentPod(
        name=str(metadata["name"]),
        node=str(node),
        ready=ready.get("status") == "True",
        config_digest=(metadata.get("annotations") or {}).get(CONFIG_DIGEST),
        failure_message=failure_message(status),
        terminating=terminating(raw),
        started=_all_containers_run(status),
        ready_since=ready_since(ready),
        crash_message="" if ready.get("status") == "True" else crash_message(status),
        uid=str(metadata.get("uid") or ""),
        exits=exits(status),
        image_failing=image_failing(status),
        version=agent_version(raw["spec"]),
        created_at=parse_time(created) if (created := metadata.get("creationTimestamp")) else None,
    )


def merge_agent(before: AgentPod | UnplacedAgent, now: AgentPod | UnplacedAgent) -> AgentPod | UnplacedAgent:
    """Return the new fact of an agent pod with the most detailed message of a failing image pull."""
    if isinstance(before, UnplacedAgent) or isinstance(now, UnplacedAgent):
        return now
    message = keep_pull_error(before.failure_message, now.failure_message)
    if before.uid != now.uid or message == now.failure_message:
        return now
    return replace(now, failure_message=message, image_failing=before.image_failing)


def agent_version(spec: Raw) -> str | None:
    """Return the Cilium version in the tag of the agent's image; None if the tag is not one."""
    containers = spec.get("containers") or []
    images = (str(container.get("image")) for container in containers if container.get("name") == _AGENT_CONTAINER)
    tag = _TAG.search(next(images, "").rpartition("/")[2])
    try:
        return None if tag is None else str(CiliumVersion.parse(tag[1]))
    except ValueError:
        return None


def agents_by_node(pods: Iterable[object]) -> dict[str, AgentPod]:
    """Return the agent pod of each node, without pods that are terminating."""
    return {pod.node: pod for pod in pods if isinstance(pod, AgentPod) and not pod.terminating}


def terminating_agents(pods: Iterable[object]) -> dict[str, frozenset[str]]:
    """Return the UIDs of terminating agent pods by node."""
    found: dict[str, frozenset[str]] = {}
    for pod in pods:
        if isinstance(pod, AgentPod) and pod.terminating:
            found[pod.node] = found.get(pod.node, frozenset()) | {pod.uid}
    return found


def unplaced_agents(pods: Iterable[object]) -> dict[str, str]:
    """Return, by node, why the scheduler cannot schedule its agent."""
    return {pod.node: pod.cause for pod in pods if isinstance(pod, UnplacedAgent)}


def unplaced_pods(pods: Iterable[object]) -> dict[str, UnplacedAgent]:
    """Return, by node, the agent pods that cannot be scheduled."""
    return {pod.node: pod for pod in pods if isinstance(pod, UnplacedAgent)}


def target_node(spec: Raw) -> str:
    """Return the node of a pod: a DaemonSet names it in the pod's affinity before the pod is scheduled."""
    required: Any = spec
    for key in _REQUIRED_NODE_AFFINITY:
        required = required.get(key) or {}
    fields = (field for term in required.get("nodeSelectorTerms") or [] for field in term.get("matchFields") or [])
    names = (field["values"][0] for field in fields if field["key"] == "metadata.name")
    return str(spec.get("nodeName") or next(names, ""))


def scheduling_failure(raw: Raw) -> str:
    """Return why the scheduler cannot schedule a pod; empty if it could, or has not tried yet."""
    scheduled = find_raw_condition(raw, "PodScheduled")
    if scheduled.get("status") != "False":
        return ""
    return shorten(f"{scheduled.get('reason') or 'Unschedulable'}: {scheduled.get('message') or 'no node found'}")


def _all_containers_run(status: Raw) -> bool:
    containers = status.get("containerStatuses") or []
    return bool(containers) and all("running" in (container.get("state") or {}) for container in containers)
