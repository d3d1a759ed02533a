"""Nodes as in EKS: hybrid nodes start without a container network, cloud nodes are Ready immediately."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

COMPUTE_TYPE = "eks.amazonaws.com/compute-type"
ZONE = "topology.kubernetes.io/zone"
# Annotation with the state of the container network; the value `installed` makes the node Ready.
CNI = "testbed/cni"
CNI_INSTALLED = "installed"
# Annotation that injects a fault into the node's agent: crash, never-ready or pull.
AGENT_FAULT = "testbed/agent"
# Label of a node whose kubelet is connected; kwok simulates only these kubelets. That of a real node is a process.
KUBELET = "testbed/kubelet"
CONNECTED = "connected"
REAL = "real"

NO_CNI = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)


def hybrid_name(number: int) -> str:
    """Return the name of the n-th hybrid node, in the format of Systems Manager."""
    return f"mi-{number:016x}"


def cloud_name(number: int) -> str:
    """Return the name of the n-th cloud node."""
    return "ip-" + cloud_address(number).replace(".", "-")


def hybrid_address(number: int) -> str:
    """Return an address of the remote node network; after 10.200.0.255 it continues with 10.200.1.0."""
    return f"10.{200 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def cloud_address(number: int) -> str:
    """Return an address of the VPC."""
    return f"192.168.{number >> 8}.{number & 255}"


def node(
    name: str,
    *,
    hybrid: bool,
    address: str,
    zone: str | None = None,
    kernel: str = "6.8.0",
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, str]] = (),
    kubelet: str = CONNECTED,
) -> dict[str, Any]:
    """Return a node as its kubelet would register it."""
    standard = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name}
    own = {COMPUTE_TYPE: "hybrid", "eks.amazonaws.com/hybrid-credential-provider": "ssm"} if hybrid else {}
    annotations = {"kwok.x-k8s.io/node": "fake"} | ({} if hybrid else {CNI: CNI_INSTALLED})
    provider = f"eks-hybrid:///eu-west-1/testbed/{name}" if hybrid else f"aws:///{zone or 'eu-west-1a'}/{name}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": standard | own | ({ZONE: zone} if zone else {}) | {KUBELET: kubelet} | dict(labels or {}),
            "annotations": annotations,
        },
        "spec": {"providerID": provider, "taints": [dict(taint) for taint in taints]},
        "status": _status(name, ready=not hybrid, address=address, kernel=kernel),
    }


def pod_that_repels_cilium_operator(node: str) -> dict[str, Any]:
    """Return a pod that keeps Cilium's operator off a node: its replicas never share a node with such a label."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"no-operator-{node}", "labels": {"io.cilium/app": "operator"}},
        "spec": {
            "nodeName": node,
            "hostNetwork": True,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "none", "image": "registry.example/none"}],
        },
    }


def new_boot_id() -> str:
    """Return the ID of another boot, in the format of Linux."""
    return str(uuid.uuid4())


def after_reboot(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status that the kubelet reports for a pod once its node has booted again.

    The container runtime does not know how the containers ended, so the kubelet reports exit code 255.
    """
    now = _now()
    lost = {"terminated": {"exitCode": 255, "reason": "Unknown", "startedAt": now, "finishedAt": now}}
    restarted = [
        container
        | {"restartCount": container["restartCount"] + 1, "lastState": lost, "state": {"running": {"startedAt": now}}}
        for container in pod["status"].get("containerStatuses", ())
    ]
    return {"containerStatuses": restarted}


def is_ready(item: Mapping[str, Any]) -> bool:
    """Whether condition `Ready` of a node or a pod is True."""
    conditions = item.get("status", {}).get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def internal_address(item: Mapping[str, Any]) -> str:
    """Return the InternalIP of a node."""
    return next(str(entry["address"]) for entry in item["status"]["addresses"] if entry["type"] == "InternalIP")


def unknown_conditions() -> list[dict[str, str]]:
    """Return the conditions that the node-lifecycle controller sets if a kubelet stops reporting."""
    kinds = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
    return [_condition(kind, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.") for kind in kinds]


def ready_condition(*, ready: bool) -> dict[str, str]:
    """Return condition Ready of a node with a container network, or without."""
    if ready:
        return _condition("Ready", "True", "KubeletReady", "kubelet is posting ready status")
    return _condition("Ready", "False", "KubeletNotReady", NO_CNI)


def _status(name: str, *, ready: bool, address: str, kernel: str) -> dict[str, Any]:
    size = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    return {
        "capacity": size,
        "allocatable": size,
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "conditions": [
            _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "enough memory"),
            _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "enough disk"),
            _condition("PIDPressure", "False", "KubeletHasSufficientPID", "enough process ids"),
            ready_condition(ready=ready),
        ],
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": new_boot_id(),
            "containerRuntimeVersion": "containerd://2.1.4",
            "kernelVersion": kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.35.4",
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "Ubuntu 24.04.3 LTS",
            "systemUUID": "",
        },
    }


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    now = _now()
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
