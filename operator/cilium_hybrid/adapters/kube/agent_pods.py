"""Requests about agent pods: a fresh read, the deletion of one, and a server-side dry run of a new one."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from cilium_hybrid.adapters.kube import facts
from cilium_hybrid.adapters.kube.client import FIELD_MANAGER, ApiError, KubeClient
from cilium_hybrid.adapters.kube.dry_run import refusal
from cilium_hybrid.adapters.kube.pod_facts import agent_pod, merge_agent
from cilium_hybrid.adapters.kube.watches import AGENT_PODS, AGENT_SET, HYBRID_NODES
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.observation import AgentPod, HybridNode
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.ports import StaleError
from cilium_hybrid.rules.rule import one_line

PROBE: Final = "cilium-hybrid-probe"
"""The name of the pod in the dry run, the only one that RBAC allows."""

_QUOTA: Final = re.compile(r"exceeded quota: [^,]+, requested: .+?, used: (?P<used>.+?), limited: (?P<limited>\S+)$")
_QUANTITY: Final = re.compile(r"([0-9.]+)(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?")
_UNITS: Final = {None: Decimal(1), "m": Decimal("0.001")} | {
    unit: Decimal(base) ** power
    for power, prefix in enumerate("KMGTPE", 1)
    for unit, base in ((prefix if power > 1 else "k", 1000), (f"{prefix}i", 1024))
}
_TOLERATED: Final = ("not-ready", "unreachable")


async def delete_agent_pod(client: KubeClient, pod: PodRef) -> None:
    """Delete a pod if it still exists; StaleError if another has its name, ApiError, ClusterUnavailableError."""
    try:
        await client.delete(f"{AGENT_PODS.path}/{pod.name}", uid=pod.uid)
    except ApiError as error:
        if error.status == HTTPStatus.CONFLICT:
            raise StaleError(f"pod {pod.name} was replaced since it was observed") from None
        if error.status != HTTPStatus.NOT_FOUND:
            raise


async def require_fresh(client: KubeClient, name: str, node: HybridNode | None, pods: Mapping[str, object]) -> None:
    """Read a node and its agents afresh; StaleError unless they are as observed: `node`, and those among these `pods`.

    Labels of the node do not matter. ApiError, ClusterUnavailableError.
    """
    query = HYBRID_NODES.query(fieldSelector=f"metadata.name={name}")
    nodes = [facts.hybrid_node(raw, labels=()) for raw in (await client.get(HYBRID_NODES.path, query))["items"] or ()]
    query = AGENT_PODS.query(fieldSelector=f"spec.nodeName={name}")
    read = {
        raw["metadata"]["name"]: agent_pod(raw) for raw in (await client.get(AGENT_PODS.path, query))["items"] or ()
    }
    observed = {key: pod for key, pod in pods.items() if isinstance(pod, AgentPod) and pod.node == name}
    # What the watch has merged from earlier versions is merged here as well.
    now = {key: merge_agent(observed[key], pod) if pod and key in observed else pod for key, pod in read.items()}
    before = [] if node is None else [replace(node, labels={})]
    if observed != now or before != [found if node is None else facts.merge_node(node, found) for found in nodes]:
        raise StaleError(f"node {name} or its agent has changed since it was observed")


async def dry_run_agent_pod(client: KubeClient, node: str | None) -> Sequence[str]:
    """Return why the API server would reject a pod of DaemonSet `cilium` for a node, a sentence each.

    A quota counts only if more is used than is allowed: one agent is deleted before its successor is created. Nothing
    is returned if there is no DaemonSet. ApiError, ClusterUnavailableError.
    """
    listed = await client.get(AGENT_SET.path, AGENT_SET.query())
    for daemon_set in listed.get("items") or []:
        path, pod = f"{AGENT_PODS.path}/{PROBE}", pod_of(daemon_set, node)
        cause = await refusal(partial(client.apply, path, pod, FIELD_MANAGER, dry_run=True))
        if cause and is_lasting(cause):
            return (one_line(f"pod of DaemonSet {NAMESPACE}/cilium: {cause}"),)
    return ()


def pod_of(daemon_set: Mapping[str, Any], node: str | None) -> dict[str, Any]:
    """Return a pod as the DaemonSet controller would create it for a node: owner, affinity and tolerations."""
    metadata, template = daemon_set["metadata"], daemon_set["spec"]["template"]
    spec = copy.deepcopy(template["spec"])
    spec["tolerations"] = [
        *(spec.get("tolerations") or []),
        *({"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"} for key in _TOLERATED),
    ]
    if node is not None:
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        affinity = spec.get("affinity") or {}
        spec["affinity"] = affinity | {"nodeAffinity": (affinity.get("nodeAffinity") or {}) | required}
    # Without blockOwnerDeletion, which would need a permission on the DaemonSet's finalizers.
    owner = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    kept = {key: value for key, value in (template.get("metadata") or {}).items() if key in {"labels", "annotations"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**kept, "name": PROBE, "namespace": metadata["namespace"], "ownerReferences": [owner]},
        "spec": spec,
    }


def is_lasting(cause: str) -> bool:
    """Return whether a refusal would also hold after one agent is gone; only that of a full quota would not."""
    quota = _QUOTA.search(cause)
    if quota is None:
        return True
    used, limited = _quantities(quota["used"]), _quantities(quota["limited"])
    return any(used[name] > limited[name] for name in used.keys() & limited.keys())


def _quantities(text: str) -> dict[str, Decimal]:
    """Parse `pods=5,requests.cpu=500m`; a quantity that cannot be parsed is left out."""
    pairs = (part.rpartition("=") for part in text.split(","))
    return {name: quantity for name, _, value in pairs if (quantity := _quantity(value)) is not None}


def _quantity(text: str) -> Decimal | None:
    match = _QUANTITY.fullmatch(text.strip())
    try:
        return None if match is None else Decimal(match[1]) * _UNITS[match[2]]
    except InvalidOperation:
        return None
