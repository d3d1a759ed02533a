"""Convert raw API objects except for pods to facts, which hold only what the operator needs."""

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.pod_failure import shorten
from cilium_hybrid.api.upgrade import DEFAULT_GROUP
from cilium_hybrid.plan.observation import (
    AgentSet,
    CiliumNode,
    CiliumOperator,
    HybridNode,
    NodeReady,
    PoolConfig,
)
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.rules.cluster_facts import AddressRange, parse_address_ranges

Raw = Mapping[str, Any]

TEMPLATE_HASH_LABEL: Final = "pod-template-hash"
_DEPLOYMENT_REVISION: Final = "deployment.kubernetes.io/revision"
DEFAULT_NODE_LABELS: Final = frozenset({DEFAULT_GROUP})
_PREFIX_LENGTH: Final = re.compile(r"[0-9]|[12][0-9]|3[0-2]")


def hybrid_node(raw: Raw, labels: Collection[str] = DEFAULT_NODE_LABELS) -> HybridNode:
    """Return the fact of a Node with only these of its labels: a change of any other label is no change of the fact."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    system = status.get("nodeInfo") or {}
    ready = find_raw_condition(raw, "Ready")
    is_ready: NodeReady = {"True": "True", "Unknown": "Unknown"}.get(ready.get("status", ""), "False")  # type: ignore[assignment] # one of the three
    taints = tuple(sys.intern(str(taint.get("key"))) for taint in (raw.get("spec") or {}).get("taints") or [])
    of_node, pods = metadata.get("labels") or {}, str((status.get("capacity") or {}).get("pods", ""))
    return HybridNode(
        name=str(metadata["name"]),
        ready=is_ready,
        message="" if is_ready == "True" else shorten(str(ready.get("message") or "")),
        kernel=sys.intern(str(system.get("kernelVersion") or "")),
        addresses=node_addresses(raw),
        labels={sys.intern(key): sys.intern(str(of_node[key])) for key in labels if key in of_node},
        taints=taints,
        max_pods=int(pods) if pods.isdigit() else None,
        uid=str(metadata.get("uid") or ""),
        boot_id=str(system.get("bootID") or ""),
        kubelet=sys.intern(str(system.get("kubeletVersion") or "")),
        runtime=sys.intern(str(system.get("containerRuntimeVersion") or "")),
        clock_skew=int(_clock_difference(raw, ready) // 60),
    )


def merge_node(before: HybridNode, now: HybridNode) -> HybridNode:
    """Return the new fact of a Node with the previous clock skew if it is about the same, so that it does not flap."""
    skewed = before.clock_skew > 0 and now.clock_skew > 0
    if skewed and before.uid == now.uid and abs(now.clock_skew - before.clock_skew) <= 1:
        return replace(now, clock_skew=before.clock_skew)
    return now


def _clock_difference(raw: Raw, ready: Raw) -> float:
    """Return by how many seconds the clock of a Node differs from that of the API server; 0 if unknown.

    The API server notes the time of each write in managedFields. Compared are that of the newest heartbeat and the
    heartbeat itself, so neither a watch that lags nor the clock of this machine matters.
    """
    heartbeat = ready.get("lastHeartbeatTime")
    written = [
        entry["time"]
        for entry in raw["metadata"].get("managedFields") or []
        if entry.get("subresource") == "status" and entry.get("time") and _owns_heartbeat(entry.get("fieldsV1") or {})
    ]
    if not heartbeat or not written:
        return 0.0
    # Timestamps sort as text.
    return abs((parse_time(heartbeat) - parse_time(max(written))).total_seconds())


def _owns_heartbeat(owned: Raw) -> bool:
    conditions = (owned.get("f:status") or {}).get("f:conditions") or {}
    return "f:lastHeartbeatTime" in (conditions.get('k:{"type":"Ready"}') or {})


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


def agent_set(raw: Raw) -> AgentSet:
    """Return the fact of DaemonSet `cilium`."""
    template = raw["spec"]["template"].get("metadata") or {}
    digest = (template.get("annotations") or {}).get(CONFIG_DIGEST)
    strategy = (raw["spec"].get("updateStrategy") or {}).get("type")
    return AgentSet(digest, observed(raw), _generation(raw), rolling_update=strategy == "RollingUpdate")


def cilium_operator(raw: Raw) -> tuple[CiliumOperator, str]:
    """Return the fact of Deployment `cilium-operator`, and the revision of its present template.

    The revision is empty while the Deployment's controller has not observed the template.
    """
    status = raw.get("status") or {}
    available, updated = int(status.get("availableReplicas", 0)), int(status.get("updatedReplicas", 0))
    operator = CiliumOperator(
        replicas=int(raw["spec"].get("replicas", 1)),
        available=available,
        observed=observed(raw),
        current=observed(raw) and available > 0 and updated == int(status.get("replicas", 0)),
        generation=_generation(raw),
    )
    return operator, _deployment_revision(raw) if operator.observed else ""


def template_revision(raw: Raw) -> tuple[str, str]:
    """Return the template hash of a ReplicaSet, and the newest revision of its Deployment that has this template.

    The ReplicaSet of an old template gets a new revision if the template is used again.
    """
    return str((raw["metadata"].get("labels") or {}).get(TEMPLATE_HASH_LABEL, "")), _deployment_revision(raw)


def _deployment_revision(raw: Raw) -> str:
    return str((raw["metadata"].get("annotations") or {}).get(_DEPLOYMENT_REVISION, ""))


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
    mask = mask_size(data.get("cluster-pool-ipv4-mask-size"))
    cidrs = tuple(str(data.get("cluster-pool-ipv4-cidr", "")).split())
    return PoolConfig(cidrs, mask), str(raw["metadata"].get("resourceVersion", ""))


def mask_size(value: object) -> int | None:
    """Return the prefix length that a value or its text is; None if it is none, so that any text can be read."""
    text = str(value)
    return int(text) if _PREFIX_LENGTH.fullmatch(text) else None


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


def ready_since(condition: Raw) -> datetime | None:
    """Return since when a condition is True; None if it is not."""
    since = condition.get("lastTransitionTime")
    return parse_time(since) if since and condition.get("status") == "True" else None


def observed(raw: Raw) -> bool:
    """Return whether the controller of an object has observed its newest generation."""
    return bool((raw.get("status") or {}).get("observedGeneration", 0) >= raw["metadata"].get("generation", 0))
