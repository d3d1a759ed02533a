"""Convert raw API objects to facts, which hold only what the operator needs."""

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.pod_failure import crash_message, failure_message, keep_pull_error, shorten
from cilium_hybrid.api.upgrade import DEFAULT_GROUP
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import (
    AgentPod,
    AgentSet,
    CiliumNode,
    CiliumOperator,
    CiliumPod,
    ForeignPod,
    HybridNode,
    NodeReady,
    PoolConfig,
    Record,
    Rejected,
    UnplacedAgent,
)
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.rules.cluster import AddressRange, parse_address_ranges

Raw = Mapping[str, Any]

APP_NAME_LABEL: Final = "app.kubernetes.io/name"
WORKLOADS: Final = {"cilium-envoy": "DaemonSet cilium-envoy", "cilium-operator": "Deployment cilium-operator"}
"""The workloads of other Cilium pods, by the value of APP_NAME_LABEL."""
DEFAULT_NODE_LABELS: Final = frozenset({DEFAULT_GROUP})
_REQUIRED_NODE_AFFINITY: Final = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
_FINISHED: Final = frozenset({"Succeeded", "Failed"})


def hybrid_node(raw: Raw, labels: Collection[str] = DEFAULT_NODE_LABELS) -> HybridNode:
    """Return the fact of a Node with only these of its labels: a change of any other label is no change of the fact."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    ready = find_raw_condition(raw, "Ready")
    is_ready: NodeReady = {"True": "True", "Unknown": "Unknown"}.get(ready.get("status", ""), "False")  # type: ignore[assignment] # one of the three
    taints = tuple(sys.intern(str(taint.get("key"))) for taint in (raw.get("spec") or {}).get("taints") or [])
    of_node, pods = metadata.get("labels") or {}, str((status.get("capacity") or {}).get("pods", ""))
    return HybridNode(
        name=str(metadata["name"]),
        ready=is_ready,
        message="" if is_ready == "True" else shorten(str(ready.get("message") or "")),
        kernel=str((status.get("nodeInfo") or {}).get("kernelVersion") or ""),
        addresses=node_addresses(raw),
        labels={sys.intern(key): sys.intern(str(of_node[key])) for key in labels if key in of_node},
        taints=taints,
        max_pods=int(pods) if pods.isdigit() else None,
    )


def node_addresses(raw: Raw) -> tuple[AddressRange, ...]:
    """Return the IP addresses of a Node."""
    owner = f"address of node {raw['metadata']['name']}"
    addresses = (raw.get("status") or {}).get("addresses") or []
    return parse_address_ranges(
        (owner, str(address.get("address"))) for address in addresses if str(address.get("type")).endswith("IP")
    )


def service_cidrs(raw: Raw) -> tuple[AddressRange, ...]:
    """Return the CIDRs of a ServiceCIDR."""
    owner = f"ServiceCIDR {raw['metadata']['name']}"
    return parse_address_ranges((owner, str(cidr)) for cidr in (raw.get("spec") or {}).get("cidrs") or [])


def service_addresses(raw: Raw) -> tuple[AddressRange, ...]:
    """Return the cluster IPs of a Service."""
    owner = f"address of Service {raw['metadata']['namespace']}/{raw['metadata']['name']}"
    return parse_address_ranges((owner, str(address)) for address in (raw.get("spec") or {}).get("clusterIPs") or [])


def foreign_pod(raw: Raw) -> ForeignPod | None:
    """Return the fact of another CNI's pod; None if it is not scheduled or has finished."""
    node, phase = (raw.get("spec") or {}).get("nodeName"), (raw.get("status") or {}).get("phase")
    if not node or phase in _FINISHED:
        return None
    return ForeignPod(f"{raw['metadata']['namespace']}/{raw['metadata']['name']}", str(node))


def cilium_pod(raw: Raw) -> CiliumPod | None:
    """Return the fact of a pod of the Cilium operator or Envoy; None if it is terminating or has finished."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    if status.get("phase") in _FINISHED or terminating(raw):
        return None
    node, workload = str((raw.get("spec") or {}).get("nodeName") or ""), WORKLOADS[metadata["labels"][APP_NAME_LABEL]]
    ready = find_raw_condition(raw, "Ready").get("status") == "True"
    message = "" if ready else failure_message(status) or crash_message(status) or scheduling_failure(raw)
    return CiliumPod(str(metadata["name"]), node, workload, message)


def merge_cilium_pod(before: CiliumPod, now: CiliumPod) -> CiliumPod:
    """Return the new fact of a pod with the most detailed message of a failing image pull."""
    return replace(now, failure_message=keep_pull_error(before.failure_message, now.failure_message))


def agent_pod(raw: Raw) -> AgentPod | UnplacedAgent | None:
    """Return the fact of an agent pod; None if the scheduler has not tried to schedule it yet."""
    metadata, node = raw["metadata"], (raw.get("spec") or {}).get("nodeName")
    if not node:
        target, cause = target_node(raw.get("spec") or {}), scheduling_failure(raw)
        return UnplacedAgent(target, cause) if target and cause else None
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
    )


def merge_agent(before: AgentPod | UnplacedAgent, now: AgentPod | UnplacedAgent) -> AgentPod | UnplacedAgent:
    """Return the new fact of an agent pod with the most detailed message of a failing image pull."""
    if isinstance(before, UnplacedAgent) or isinstance(now, UnplacedAgent):
        return now
    return replace(now, failure_message=keep_pull_error(before.failure_message, now.failure_message))


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


def ready_since(condition: Raw) -> datetime | None:
    """Return since when a condition is True; None if it is not."""
    since = condition.get("lastTransitionTime")
    return parse_time(since) if since and condition.get("status") == "True" else None


def agent_set(raw: Raw) -> AgentSet:
    """Return the fact of DaemonSet `cilium`."""
    template = raw["spec"]["template"].get("metadata") or {}
    digest = (template.get("annotations") or {}).get(CONFIG_DIGEST)
    return AgentSet(digest, observed(raw), _generation(raw))


def cilium_operator(raw: Raw) -> CiliumOperator:
    """Return the fact of Deployment `cilium-operator`."""
    status = raw.get("status") or {}
    available, updated = int(status.get("availableReplicas", 0)), int(status.get("updatedReplicas", 0))
    return CiliumOperator(
        replicas=int(raw["spec"].get("replicas", 1)),
        available=available,
        observed=observed(raw),
        current=observed(raw) and available > 0 and updated == int(status.get("replicas", 0)),
        generation=_generation(raw),
    )


def _generation(raw: Raw) -> int:
    return int(raw["metadata"].get("generation", 0))


def cilium_node(raw: Raw) -> CiliumNode:
    """Return the fact of a CiliumNode."""
    name = str(raw["metadata"]["name"])
    ipam = (raw.get("spec") or {}).get("ipam") or {}
    operator = ((raw.get("status") or {}).get("ipam") or {}).get("operator-status") or {}
    blocks = tuple(map(str, ipam.get("podCIDRs") or []))
    return CiliumNode(name, blocks, shorten(str(operator.get("error") or "")))


def config(raw: Raw) -> tuple[PoolConfig, str]:
    """Return the IPAM settings in ConfigMap `cilium-config`, and its resourceVersion."""
    data = raw.get("data") or {}
    mask = str(data.get("cluster-pool-ipv4-mask-size", ""))
    cidrs = tuple(str(data.get("cluster-pool-ipv4-cidr", "")).split())
    return PoolConfig(cidrs, int(mask) if mask.isdigit() else None), str(raw["metadata"].get("resourceVersion", ""))


def record(raw: Raw) -> Record | None:
    """Return the operator's record; None if the ConfigMap is invalid: the operator then writes a new one."""
    data = raw.get("data") or {}
    try:
        return Record(
            initial_version=str(CiliumVersion.parse(data["initialVersion"])),
            pod_cidrs=tuple(data["podCIDRs"].split()),
            mask_size=int(data["maskSize"]),
            revision=int(data["revision"]),
            chart_ref=data["chartRef"],
            chart_version=data["chartVersion"],
            verified=int(data["verifiedRevision"]) if "verifiedRevision" in data else None,
            rejected=Rejected(**json.loads(data["rejected"])) if "rejected" in data else None,
        )
    except (KeyError, ValueError, TypeError):
        return None


def record_data(record: Record) -> dict[str, str]:
    """Return the data of the record's ConfigMap."""
    return {
        "initialVersion": record.initial_version,
        "podCIDRs": " ".join(record.pod_cidrs),
        "maskSize": str(record.mask_size),
        "revision": str(record.revision),
        "chartRef": record.chart_ref,
        "chartVersion": record.chart_version,
        **({} if record.verified is None else {"verifiedRevision": str(record.verified)}),
        **({} if record.rejected is None else {"rejected": json.dumps(asdict(record.rejected))}),
    }


def terminating(raw: Raw) -> bool:
    """Return whether an object is being deleted."""
    return "deletionTimestamp" in raw["metadata"]


def parse_time(text: str) -> datetime:
    """Parse a Kubernetes timestamp."""
    return datetime.fromisoformat(text)


def find_raw_condition(raw: Raw, kind: str) -> Raw:
    """Return a condition of an object; an empty mapping if the object does not have it."""
    conditions = (raw.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def observed(raw: Raw) -> bool:
    """Return whether the controller of an object has observed its newest generation."""
    return bool((raw.get("status") or {}).get("observedGeneration", 0) >= raw["metadata"].get("generation", 0))
