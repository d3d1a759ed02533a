"""What a survey of an API server finds."""

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.plan.observation import Lookups, PoolConfig
from cilium_hybrid.plan.validate import LookupRequest
from cilium_hybrid.rules.cluster import Taken
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


def test_pods_off_the_hybrid_nodes_are_found_by_their_address(cluster: Cluster) -> None:
    cluster.add_node("ip-for-the-survey", hybrid=False)
    cluster.add_node("mi-for-the-survey")
    for pod in (
        a_pod("on-cloud", "ip-for-the-survey"),
        a_pod("on-its-network", "ip-for-the-survey", hostNetwork=True),
        a_pod("on-hybrid", "mi-for-the-survey", hostNetwork=True),
    ):
        cluster.apply(json.dumps(pod))
    taken = Taken.of("the address of pod default/on-cloud", _address(cluster, "on-cloud"))
    assert taken is not None
    everything, elsewhere = ((0, 2**32 - 1),), ((taken.first + 1, taken.last + 1),)
    found = lookups(cluster, LookupRequest(everything)).pods
    missed = lookups(cluster, LookupRequest(elsewhere)).pods
    for name in ("ip-for-the-survey", "mi-for-the-survey"):
        cluster.remove_node(name)

    assert taken in found
    assert not [pod for pod in found if "on-its-network" in pod.owner or "on-hybrid" in pod.owner]
    assert missed == ()


def test_a_kind_that_is_not_there_has_no_objects(cluster: Cluster) -> None:
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


def test_peering_policies_are_found_by_their_names(cluster: Cluster) -> None:
    cluster.apply(POLICIES)
    path = "/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies"
    # Refused, and asked again, until the kind is served.
    wait_until(lambda: cluster.request("GET", path), timeout=30, what="the kind is served")
    cluster.apply(POLICY)
    found = lookups(cluster, LookupRequest(peering_policies=True))
    cluster.kubectl("delete", "crd", "ciliumbgppeeringpolicies.cilium.io", "--timeout=30s")

    assert found == Lookups(peering_policies=("rack-1",))


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        pytest.param(
            {
                "config": {
                    "ipam": {"operator": {"clusterPoolIPv4PodCIDRList": ["10.1.0.0/16"], "clusterPoolIPv4MaskSize": 26}}
                }
            },
            PoolConfig(("10.1.0.0/16",), 26),
            id="a list",
        ),
        pytest.param(
            {"config": {"ipam": {"operator": {"clusterPoolIPv4PodCIDRList": "10.1.0.0/16"}}}},
            PoolConfig(("10.1.0.0/16",), None),
            id="one text, and no mask",
        ),
        pytest.param({"config": {}}, None, id="nothing of it"),
        pytest.param(None, None, id="a record that cannot be read"),
    ],
)
def test_helms_record_tells_the_pools(cluster: Cluster, release: Any, expected: PoolConfig | None) -> None:
    packed = b"broken" if release is None else gzip.compress(json.dumps(release).encode())
    payload = base64.b64encode(base64.b64encode(packed)).decode()
    metadata = {"name": RELEASE, "namespace": "kube-system"}
    cluster.apply(
        json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"release": payload}})
    )

    assert lookups(cluster, LookupRequest(revision=3)) == Lookups(released_pool=expected)
