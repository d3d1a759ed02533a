"""The permissions in deploy/ suffice for every watch and for the requests that no scenario makes for certain."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.record import Record
from contract.kube import with_watches
from testbed.cluster import Cluster
from testbed.operator import ACCOUNT, NAMESPACE, ROOT

PODS = "/api/v1/namespaces/kube-system/pods"


@pytest.fixture
def kubeconfig(testbed_cluster: Cluster) -> Iterator[Path]:
    """The kubeconfig of the operator's ServiceAccount."""
    testbed_cluster.kubectl("create", "namespace", NAMESPACE)
    for name in ("rbac.yaml", "rbac-cilium.yaml"):
        testbed_cluster.apply((ROOT / "deploy" / "operator" / name).read_text())
    yield testbed_cluster.kubeconfig_for(NAMESPACE, ACCOUNT)
    testbed_cluster.kubectl("delete", "-n", "kube-node-lease", "--ignore-not-found", "lease/mi-lease")
    names = ("daemonset/cilium", "configmap/cilium-hybrid-applied")
    testbed_cluster.kubectl("delete", "-n", "kube-system", "--ignore-not-found", *names)


def lease(renewed: str) -> str:
    """The Lease of a node as its kubelet writes it."""
    metadata = {"name": "mi-lease", "namespace": "kube-node-lease"}
    spec = {"holderIdentity": "mi-lease", "leaseDurationSeconds": 40, "renewTime": renewed}
    return json.dumps({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})


def test_every_watch_and_write_is_permitted(testbed_cluster: Cluster, kubeconfig: Path) -> None:
    labels = {"k8s-app": "cilium"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "cilium-agent", "image": "x"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "cilium", "namespace": "kube-system"}
    daemon_set = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}

    async def use(client: KubeClient, cluster: KubeCluster) -> None:
        assert [str(state) for state in cluster.watch_states() if state.loss is not None] == []
        assert await cluster.dry_run_agent_pod() == ()
        await cluster.write_record(Record())
        record = cluster.observe().record
        assert record is not None
        await cluster.write_record(Record(revision=1, resource_version=record.resource_version))
        await cluster.delete_agent_pods([PodRef("cilium-gone", "x")])
        await cluster.require_fresh(["mi-gone"])
        canary = [("mi-lease", "uid-1")]
        assert not await cluster.have_reported(canary)
        testbed_cluster.apply(lease("2026-03-01T11:00:00.000000Z"))
        assert [await cluster.have_reported(canary) for _ in range(2)] == [False, False]
        testbed_cluster.apply(lease("2026-03-01T11:00:10.000000Z"))
        assert await cluster.have_reported(canary)
        # With another agent pod it must report again.
        assert not await cluster.have_reported([("mi-lease", "uid-2")])
        # Only the pod of the dry run can be created.
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cilium-other"}, "spec": template["spec"]}
        with pytest.raises(ApiError, match="forbidden"):
            await client.post(PODS, pod)
        with pytest.raises(ApiError, match="forbidden"):
            await client.apply(f"{PODS}/cilium-other", pod, "x")

    testbed_cluster.apply(json.dumps(daemon_set))
    with_watches(kubeconfig, use)
