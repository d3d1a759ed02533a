"""From raw objects to facts: what is kept of each, and nothing more."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.pod_failure import crash_message, failure_message, short, told_on
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
from cilium_hybrid.rules.cluster import Taken, all_taken

Raw = Mapping[str, Any]

OF_AN_APP: Final = "app.kubernetes.io/name"
WORKLOADS: Final = {"cilium-envoy": "DaemonSet cilium-envoy", "cilium-operator": "Deployment cilium-operator"}
"""By that label of their pods."""
_WHERE: Final = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")


def hybrid_node(raw: Raw) -> HybridNode:
    """A Node."""
    name = str(raw["metadata"]["name"])
    ready = condition(raw, "Ready")
    status: NodeReady = {"True": "True", "Unknown": "Unknown"}.get(ready.get("status", ""), "False")  # type: ignore[assignment] # of the three words
    taints = tuple(sys.intern(str(taint.get("key"))) for taint in (raw.get("spec") or {}).get("taints") or [])
    return HybridNode(
        name=name,
        ready=status,
        message="" if status == "True" else short(str(ready.get("message") or "")),
        kernel=str(((raw.get("status") or {}).get("nodeInfo") or {}).get("kernelVersion") or ""),
        addresses=node_addresses(raw),
        labels={sys.intern(key): sys.intern(str(value)) for key, value in raw["metadata"].get("labels", {}).items()},
        taints=taints,
    )


def node_addresses(raw: Raw) -> tuple[Taken, ...]:
    """The addresses of a Node."""
    owner = f"an address of node {raw['metadata']['name']}"
    addresses = (raw.get("status") or {}).get("addresses") or []
    return all_taken((owner, str(one.get("address"))) for one in addresses if str(one.get("type")).endswith("IP"))


def service_cidrs(raw: Raw) -> tuple[Taken, ...]:
    """A ServiceCIDR."""
    owner = f"the Services' network (ServiceCIDR {raw['metadata']['name']})"
    return all_taken((owner, str(cidr)) for cidr in (raw.get("spec") or {}).get("cidrs") or [])


def service_addresses(raw: Raw) -> tuple[Taken, ...]:
    """A Service."""
    owner = f"the address of Service {raw['metadata']['namespace']}/{raw['metadata']['name']}"
    return all_taken((owner, str(address)) for address in (raw.get("spec") or {}).get("clusterIPs") or [])


def foreign_pod(raw: Raw) -> ForeignPod | None:
    """A pod of another CNI; None for one that is on no node, or has ended."""
    node, phase = (raw.get("spec") or {}).get("nodeName"), (raw.get("status") or {}).get("phase")
    if not node or phase in {"Succeeded", "Failed"}:
        return None
    return ForeignPod(f"{raw['metadata']['namespace']}/{raw['metadata']['name']}", str(node))


def cilium_pod(raw: Raw) -> CiliumPod | None:
    """A pod of Cilium's operator or of Envoy; None for one that leaves its node or has ended."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    if status.get("phase") in {"Succeeded", "Failed"} or "deletionTimestamp" in metadata:
        return None
    node, workload = str((raw.get("spec") or {}).get("nodeName") or ""), WORKLOADS[metadata["labels"][OF_AN_APP]]
    ready = condition(raw, "Ready").get("status") == "True"
    why = "" if ready else failure_message(status) or crash_message(status) or without_a_node(raw)
    return CiliumPod(str(metadata["name"]), node, workload, why)


def cilium_pod_after(before: CiliumPod, now: CiliumPod) -> CiliumPod:
    """A pod that was seen before: its trouble is told on."""
    return replace(now, failure_message=told_on(before.failure_message, now.failure_message))


def agent_pod(raw: Raw) -> AgentPod | UnplacedAgent | None:
    """A pod of the agents' DaemonSet; None for one that the scheduler has not looked at yet."""
    metadata, node = raw["metadata"], (raw.get("spec") or {}).get("nodeName")
    if not node:
        meant, cause = node_of(raw.get("spec") or {}), without_a_node(raw)
        return UnplacedAgent(meant, cause) if meant and cause else None
    status, ready = raw.get("status") or {}, condition(raw, "Ready")
    return AgentPod(
        name=str(metadata["name"]),
        node=str(node),
        ready=ready.get("status") == "True",
        config_digest=(metadata.get("annotations") or {}).get(CONFIG_DIGEST),
        failure_message=failure_message(status),
        terminating="deletionTimestamp" in metadata,
        started=_started(status),
        ready_since=ready_since(ready),
        crash_message="" if ready.get("status") == "True" else crash_message(status),
    )


def agent_after(before: AgentPod | UnplacedAgent, now: AgentPod | UnplacedAgent) -> AgentPod | UnplacedAgent:
    """A pod that was seen before: its trouble is told on."""
    if isinstance(before, UnplacedAgent) or isinstance(now, UnplacedAgent):
        return now
    return replace(now, failure_message=told_on(before.failure_message, now.failure_message))


def node_of(spec: Raw) -> str:
    """The node of a pod; one of a DaemonSet names it in its affinity before it is there."""
    required: Any = spec
    for key in _WHERE:
        required = required.get(key) or {}
    fields = (field for term in required.get("nodeSelectorTerms") or [] for field in term.get("matchFields") or [])
    wanted = (field["values"][0] for field in fields if field["key"] == "metadata.name")
    return str(spec.get("nodeName") or next(wanted, ""))


def without_a_node(raw: Raw) -> str:
    """Why the scheduler finds no node for a pod; empty where it did, or has not looked yet."""
    scheduled = condition(raw, "PodScheduled")
    if scheduled.get("status") != "False":
        return ""
    return short(f"{scheduled.get('reason') or 'Unschedulable'}: {scheduled.get('message') or 'it has no node'}")


def _started(status: Raw) -> bool:
    containers = status.get("containerStatuses") or []
    return bool(containers) and all("running" in (one.get("state") or {}) for one in containers)


def ready_since(condition: Raw) -> datetime | None:
    """Since when a condition is True; None where it is not."""
    at = condition.get("lastTransitionTime")
    return moment(at) if at and condition.get("status") == "True" else None


def agent_set(raw: Raw) -> AgentSet:
    """The DaemonSet `cilium`."""
    template = raw["spec"]["template"].get("metadata") or {}
    digest = (template.get("annotations") or {}).get(CONFIG_DIGEST)
    return AgentSet(digest, observed(raw), _generation(raw))


def cilium_operator(raw: Raw) -> CiliumOperator:
    """The Deployment `cilium-operator`."""
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
    """How often what is asked of it was changed."""
    return int(raw["metadata"].get("generation", 0))


def cilium_node(raw: Raw) -> CiliumNode:
    """A CiliumNode."""
    name = str(raw["metadata"]["name"])
    ipam = (raw.get("spec") or {}).get("ipam") or {}
    operator = ((raw.get("status") or {}).get("ipam") or {}).get("operator-status") or {}
    blocks = tuple(map(str, ipam.get("podCIDRs") or []))
    return CiliumNode(name, blocks, short(str(operator.get("error") or "")))


def config(raw: Raw) -> tuple[PoolConfig, str]:
    """The IPAM facts in ConfigMap `cilium-config`, and which edit of it this is."""
    data = raw.get("data") or {}
    mask = str(data.get("cluster-pool-ipv4-mask-size", ""))
    cidrs = tuple(str(data.get("cluster-pool-ipv4-cidr", "")).split())
    return PoolConfig(cidrs, int(mask) if mask.isdigit() else None), str(raw["metadata"].get("resourceVersion", ""))


def record(raw: Raw) -> Record | None:
    """The operator's record; None where somebody broke it: it is then made again of what runs."""
    data = raw.get("data") or {}
    try:
        return Record(
            initial_version=str(CiliumVersion.parse(data["initialVersion"])),
            pod_cidrs=tuple(data["podCIDRs"].split()),
            mask_size=int(data["maskSize"]),
            revision=int(data["revision"]),
            chart_ref=data["chartRef"],
            chart_version=data["chartVersion"],
            verified=int(data["goodRevision"]) if "goodRevision" in data else None,
            rejected=Rejected(**json.loads(data["rejected"])) if "rejected" in data else None,
        )
    except (KeyError, ValueError, TypeError):
        return None


def record_data(record: Record) -> dict[str, str]:
    """The data of the record's ConfigMap."""
    return {
        "initialVersion": record.initial_version,
        "podCIDRs": " ".join(record.pod_cidrs),
        "maskSize": str(record.mask_size),
        "revision": str(record.revision),
        "chartRef": record.chart_ref,
        "chartVersion": record.chart_version,
        **({} if record.verified is None else {"goodRevision": str(record.verified)}),
        **({} if record.rejected is None else {"rejected": json.dumps(asdict(record.rejected))}),
    }


def terminating(raw: Raw) -> bool:
    """Whether an object is being deleted."""
    return "deletionTimestamp" in raw["metadata"]


def moment(text: str) -> datetime:
    """A timestamp of Kubernetes."""
    return datetime.fromisoformat(text)


def condition(raw: Raw, kind: str) -> Raw:
    """A condition of an object; an empty one where there is none."""
    conditions = (raw.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def observed(raw: Raw) -> bool:
    """Whether its controller has seen an object as it is."""
    return bool((raw.get("status") or {}).get("observedGeneration", 0) >= raw["metadata"].get("generation", 0))
