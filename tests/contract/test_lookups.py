"""Lookups against an API server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.plan.observation import Lookups
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.rules.cluster_facts import AddressRange
from contract.kube import with_watches
from testbed.cluster import Cluster
from testbed.processes import wait_until

RELEASE = "sh.helm.release.v1.cilium.v3"


def lookups(cluster: Cluster, lookup_request: LookupRequest) -> Lookups:
    async def use(_: KubeClient, kube: KubeCluster) -> Lookups:
        return await kube.lookups(lookup_request)

    return with_watches(cluster.kubeconfig, use)


def a_pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    everywhere = {"nodeName": node, "tolerations": [{"operator": "Exists"}]}
    containers = [{"name": "x", "image": "registry.example/x"}]
    metadata = {"name": name, "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": everywhere | {"containers": containers} | spec,
    }


@pytest.fixture
def cluster(testbed_cluster: Cluster) -> Iterator[Cluster]:
    yield testbed_cluster
    testbed_cluster.kubectl("delete", "pods", "--all", "-n", "default", "--now")
    testbed_cluster.kubectl("delete", "secret", RELEASE, "-n", "kube-system", "--ignore-not-found")


def _address(cluster: Cluster, pod: str) -> str:
    def found() -> str:
        status = cluster.get("pod", pod, "default").get("status", {})
        return str(status.get("podIP", ""))

    return wait_until(found, timeout=30, what=f"pod {pod} has an address")


def test_pods_on_other_nodes_are_found_by_their_address(cluster: Cluster) -> None:
    cluster.add_node("ip-lookup", hybrid=False)
    cluster.add_node("mi-lookup")
    for pod in (
        a_pod("on-cloud", "ip-lookup"),
        a_pod("on-host-network", "ip-lookup", hostNetwork=True),
        a_pod("on-hybrid", "mi-lookup", hostNetwork=True),
    ):
        cluster.apply(json.dumps(pod))
    address = AddressRange.parse("address of pod default/on-cloud", _address(cluster, "on-cloud"))
    assert address is not None
    all_addresses, other_address = ((0, 2**32 - 1),), ((address.first + 1, address.last + 1),)
    found = lookups(cluster, LookupRequest(all_addresses)).pods
    missed = lookups(cluster, LookupRequest(other_address)).pods
    for name in ("ip-lookup", "mi-lookup"):
        cluster.remove_node(name)

    assert address in found
    assert not [pod for pod in found if "on-host-network" in pod.owner or "on-hybrid" in pod.owner]
    assert missed == ()


def test_a_missing_kind_has_no_objects(cluster: Cluster) -> None:
    assert lookups(cluster, LookupRequest(peering_policies=True)) == Lookups()


POLICIES = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ciliumbgppeeringpolicies.cilium.io}
spec:
  group: cilium.io
  scope: Cluster
  names: {kind: CiliumBGPPeeringPolicy, plural: ciliumbgppeeringpolicies, singular: ciliumbgppeeringpolicy}
  versions:
    - name: v2alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
POLICY = "{apiVersion: cilium.io/v2alpha1, kind: CiliumBGPPeeringPolicy, metadata: {name: rack-1}}"


def test_names_of_peering_policies(cluster: Cluster) -> None:
    cluster.apply(POLICIES)
    path = "/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies"
    # Returns 404 until the kind is served.
    wait_until(lambda: cluster.request("GET", path), timeout=30, what="the kind is served")
    cluster.apply(POLICY)
    found = lookups(cluster, LookupRequest(peering_policies=True))
    cluster.kubectl("delete", "crd", "ciliumbgppeeringpolicies.cilium.io", "--timeout=30s")

    assert found == Lookups(peering_policies=("rack-1",))
