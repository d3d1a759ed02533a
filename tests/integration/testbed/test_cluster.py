"""A cluster of real processes: its nodes, users and faults, and that all its processes end."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from testbed.cluster import Cluster
from testbed.nodes import is_ready
from testbed.processes import CommandError, Identity, run, wait_until

HYBRID, CLOUD = "mi-0000000000000001", "ip-192-168-0-1"
PROCESSES = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelets", "cilium"}
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  containers: [{{name: main, image: "registry.example/{image}:v1"}}]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=2, cloud=1) as cluster:
        yield cluster


def condition(node: dict[str, Any], kind: str = "Ready") -> tuple[str, str, str]:
    found = next(entry for entry in node["status"]["conditions"] if entry["type"] == kind)
    return found["status"], found["reason"], found["message"]


def taints(node: dict[str, Any]) -> set[str]:
    return {taint["key"] for taint in node["spec"].get("taints", ())}


def hosts(cluster: Cluster, selector: str) -> set[str]:
    return {pod["spec"]["nodeName"] for pod in cluster.objects("pods", "kube-system", selector=selector)}


def test_a_hybrid_node_starts_without_a_network(cluster: Cluster) -> None:
    node = cluster.get("node", HYBRID)
    status, reason, message = condition(node)
    assert (status, reason) == ("False", "KubeletNotReady")
    assert message.endswith("Network plugin returns error: cni plugin not initialized")
    assert "node.kubernetes.io/not-ready" in taints(node)
    assert node["metadata"]["labels"]["eks.amazonaws.com/compute-type"] == "hybrid"
    assert node["spec"]["providerID"].startswith("eks-hybrid:///")
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "10.200.0.1"}


def test_a_cloud_node_is_ready_immediately(cluster: Cluster) -> None:
    node = cluster.get("node", CLOUD)
    assert is_ready(node)
    assert node["spec"]["providerID"].startswith("aws:///")
    wait_until(lambda: not taints(cluster.get("node", CLOUD)), timeout=10, what="no taint")


def test_the_eks_pods_run_on_the_same_nodes_as_in_eks(cluster: Cluster) -> None:
    assert hosts(cluster, "k8s-app=aws-node") == {CLOUD}
    assert hosts(cluster, "k8s-app=kube-proxy") >= {CLOUD, HYBRID}


def test_rbac_applies_to_a_service_account(cluster: Cluster) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", "kube-system")
    cluster.kubectl("create", "clusterrole", "reader", "--verb=list", "--resource=nodes")
    cluster.kubectl(
        "create", "clusterrolebinding", "reader", "--clusterrole=reader", "--serviceaccount=kube-system:reader"
    )
    config = cluster.kubeconfig_for("kube-system", "reader")
    assert HYBRID in cluster.kubectl("get", "nodes", f"--kubeconfig={config}")
    with pytest.raises(CommandError, match='"system:serviceaccount:kube-system:reader" cannot list resource "pods"'):
        cluster.kubectl("get", "pods", f"--kubeconfig={config}")


def test_the_audit_log_contains_the_user(cluster: Cluster) -> None:
    cluster.kubectl("create", "configmap", "audited")
    users = {
        event["user"]["username"]
        for event in cluster.audit_events()
        if event["verb"] == "create" and event["objectRef"].get("name") == "audited"
    }
    assert users == {"testbed:admin"}


def test_a_node_joins_and_leaves(cluster: Cluster) -> None:
    cluster.add_node(
        "mi-new", zone="site-a", kernel="5.4.0", labels={"rack": "r1"}, taints=[{"key": "t", "effect": "NoSchedule"}]
    )
    node = cluster.get("node", "mi-new")
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "site-a"
    assert node["metadata"]["labels"]["rack"] == "r1"
    assert node["status"]["nodeInfo"]["kernelVersion"] == "5.4.0"
    assert node["status"]["addresses"][0]["address"] == "10.200.0.3"
    assert "t" in taints(node)
    wait_until(lambda: "mi-new" in hosts(cluster, "k8s-app=kube-proxy"), timeout=10, what="a pod on it")
    cluster.remove_node("mi-new")
    wait_until(lambda: "mi-new" not in hosts(cluster, "k8s-app=kube-proxy"), timeout=10, what="no pod on it")


def test_a_pod_runs_and_a_broken_one_does_not(cluster: Cluster) -> None:
    for name in ("healthy", "broken"):
        cluster.apply(POD.format(name=name, node=CLOUD, image=name))
    wait_until(lambda: is_ready(cluster.get("pod", "healthy", "default")), timeout=10, what="the healthy pod is ready")
    broken = cluster.get("pod", "broken", "default")
    assert broken["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    cluster.kubectl("delete", "pod", "healthy", "broken")


def test_a_disconnected_node_is_unknown_until_it_is_reconnected(cluster: Cluster) -> None:
    cluster.apply(POD.format(name="disconnected", node=CLOUD, image="any"))
    wait_until(lambda: is_ready(cluster.get("pod", "disconnected", "default")), timeout=10, what="the pod is ready")
    cluster.disconnect(CLOUD)
    wait_until(
        lambda: "node.kubernetes.io/unreachable" in taints(cluster.get("node", CLOUD)),
        timeout=10,
        what="the taint of an unreachable node",
    )
    unknown = ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    assert condition(cluster.get("node", CLOUD)) == unknown
    assert not is_ready(cluster.get("pod", "disconnected", "default"))
    cluster.kubectl("delete", "pod", "disconnected", "--wait=false")
    cluster.apply(POD.format(name="other", node=HYBRID, image="any"))
    wait_until(lambda: is_ready(cluster.get("pod", "other", "default")), timeout=10, what="pods elsewhere run")
    assert "deletionTimestamp" in cluster.get("pod", "disconnected", "default")["metadata"]
    cluster.reconnect(CLOUD)
    wait_until(lambda: cluster.ready_nodes() == 1, timeout=10, what="the node is ready again")
    wait_until(lambda: cluster.get("pod", "disconnected", "default") is None, timeout=10, what="its pod is deleted")
    wait_until(
        lambda: all(is_ready(pod) for pod in cluster.objects("pods", "kube-system")),
        timeout=10,
        what="its other pods are ready again",
    )


def test_the_api_server_can_be_paused_and_resumed(cluster: Cluster) -> None:
    cluster.pause_api_server()
    with pytest.raises(CommandError, match=r"Client\.Timeout exceeded|context deadline exceeded"):
        cluster.kubectl("get", "--raw=/readyz", "--request-timeout=1s")
    cluster.resume_api_server()
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"


def test_the_api_server_can_be_stopped_and_started(cluster: Cluster) -> None:
    cluster.stop_api_server()
    with pytest.raises(CommandError, match="refused"):
        cluster.kubectl("get", "--raw=/readyz")
    cluster.start_api_server()
    cluster.apply(POD.format(name="later", node=CLOUD, image="any"))
    wait_until(lambda: is_ready(cluster.get("pod", "later", "default")), timeout=30, what="pods run as before")


def test_two_clusters_are_independent_and_all_their_processes_end(tmp_path: Path) -> None:
    # Processes end with the thread that started them, so both threads must run until the end.
    with ThreadPoolExecutor(2) as threads:
        folders = [tmp_path / name for name in ("a", "b")]
        clusters = list(threads.map(lambda folder: Cluster.start(folder, hybrid=1, cloud=0), folders))
        for cluster, other in (clusters, reversed(clusters)):
            namespace = f"only-in-{cluster.folder.name}"
            cluster.kubectl("create", "namespace", namespace)
            assert other.get("namespace", namespace) is None
        for cluster in clusters:
            assert set(cluster.processes) == PROCESSES
            assert all(process.alive for process in cluster.processes.values())
            cluster.stop()
            assert not any(process.alive for process in cluster.processes.values())


def test_a_cluster_ends_with_its_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from testbed.cluster import Cluster\n"
        "cluster = Cluster.start(Path(sys.argv[1]), hybrid=0, cloud=0)\n"
        "print(*(f'{p.identity.pid}:{p.identity.started}' for p in cluster.processes.values()), flush=True)\n"
        "time.sleep(300)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        processes = [Identity(*map(int, word.split(":"))) for word in parent.stdout.readline().split()]
        assert len(processes) == len(PROCESSES)
        parent.kill()
    wait_until(lambda: not any(process.alive for process in processes), timeout=10, what="no process is left")


def test_another_process_can_attach_to_a_detached_cluster(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from testbed.cluster import Cluster\n"
        "Cluster.start(Path(sys.argv[1]), hybrid=1, cloud=0, detached=True)"
    )
    run([sys.executable, "-c", script, tmp_path], env={})
    cluster = Cluster.attach(tmp_path)
    try:
        assert not cluster.ready_nodes()
        cluster.stop_api_server()
        cluster.start_api_server()
        assert set(Cluster.attach(tmp_path).processes) == PROCESSES
    finally:
        cluster.stop()
    assert not any(process.alive for process in cluster.processes.values())
