"""The Cilium CRDs that the operator or the tests use, without their schemas."""

from ipaddress import ip_network
from typing import Any

GROUP = "cilium.io"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CILIUM_NODES = f"/apis/{GROUP}/v2/ciliumnodes"

# Kind, scope and storage version
KINDS = (
    ("CiliumNode", "Cluster", "v2"),
    ("CiliumEndpoint", "Namespaced", "v2"),
    ("CiliumIdentity", "Cluster", "v2"),
    ("CiliumNetworkPolicy", "Namespaced", "v2"),
    ("CiliumClusterwideNetworkPolicy", "Cluster", "v2"),
    ("CiliumNodeConfig", "Namespaced", "v2"),
    ("CiliumBGPPeeringPolicy", "Cluster", "v2alpha1"),
    ("CiliumLoadBalancerIPPool", "Cluster", "v2alpha1"),
)


def crds() -> list[dict[str, Any]]:
    """Return the CRDs, that of CiliumNode first."""
    return [_crd(*kind) for kind in KINDS]


def cilium_node(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node's CiliumNode as its agent creates it, without a block."""
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": node["metadata"]["name"],
        "uid": node["metadata"]["uid"],
    }
    addresses = [
        {"type": address["type"], "ip": address["address"]}
        for address in node["status"]["addresses"]
        if address["type"] == "InternalIP"
    ]
    return {
        "apiVersion": f"{GROUP}/v2",
        "kind": "CiliumNode",
        "metadata": {"name": node["metadata"]["name"], "ownerReferences": [owner]},
        "spec": {"addresses": addresses, "ipam": {}},
    }


def agent_addresses(cilium_node: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a CiliumNode's spec that its agent adds when it has a block."""
    block = ip_network(cilium_node["spec"]["ipam"]["podCIDRs"][0])
    others = [entry for entry in cilium_node["spec"]["addresses"] if entry["type"] != "CiliumInternalIP"]
    return {
        "addresses": [*others, {"type": "CiliumInternalIP", "ip": str(block[1])}],
        "health": {"ipv4": str(block[-2])},
    }


def _crd(kind: str, scope: str, version: str) -> dict[str, Any]:
    singular = kind.lower()
    plural = f"{singular[:-1]}ies" if singular.endswith("y") else f"{singular}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"io.cilium.k8s.crd.schema.version": "1.31.6"}},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": singular},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": anything | {"properties": {"spec": anything, "status": anything}}},
                }
            ],
        },
    }
