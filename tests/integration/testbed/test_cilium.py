"""The stand-in for the processes of Cilium, with a minimal release."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.cluster import AgentFault, Cluster
from testbed.nodes import hybrid_name, is_ready
from testbed.processes import wait_until

CILIUM = (Path(__file__).parent / "cilium.yaml").read_text()
FIRST, SECOND, THIRD = (hybrid_name(number) for number in (1, 2, 3))
TAINT = "node.cilium.io/agent-not-ready"
VALIDATOR = """
apiVersion: v1
kind: Pod
metadata: {name: validator, namespace: kube-system, labels: {k8s-app: cilium-pre-flight-check-deployment}}
spec:
  hostNetwork: true
  nodeName: %s
  containers: [{name: cnp-validator, image: "registry.example/cilium:v%s"}]
"""
POLICIES = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: good, namespace: default, labels: {test: validator}}
spec: {endpointSelector: {}}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: bad, labels: {test: validator}}
spec: {endpointSelector: {}, labels: wrong}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two hybrid nodes, and a pool without a block for a third."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=2, cloud=1) as cluster:
        cluster.apply(CILIUM)
        wait_until(
            lambda: cluster.ready_nodes() == 3 and agent_ready(cluster, FIRST) and agent_ready(cluster, SECOND),
            timeout=30,
            what="every node and agent is ready",
            needs=list(cluster.processes.values()),
        )
        yield cluster


def agent(cluster: Cluster, node: str) -> dict[str, Any] | None:
    pods = cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
    return next((pod for pod in pods if pod["spec"].get("nodeName") == node), None)


def container(cluster: Cluster, node: str) -> dict[str, Any]:
    pod = agent(cluster, node)
    found: dict[str, Any] = pod["status"].get("containerStatuses", [{}])[0] if pod else {}
    return found


def blocks(cluster: Cluster) -> dict[str, list[str]]:
    nodes = cluster.objects("ciliumnodes")
    return {node["metadata"]["name"]: node["spec"]["ipam"].get("podCIDRs", []) for node in nodes}


def error(cluster: Cluster, node: str) -> str | None:
    found: str | None = (
        cluster.get("ciliumnode", node).get("status", {}).get("ipam", {}).get("operator-status", {}).get("error")
    )
    return found


def taints(cluster: Cluster, node: str) -> list[str]:
    return [taint["key"] for taint in cluster.get("node", node)["spec"].get("taints", ())]


def agent_ready(cluster: Cluster, node: str) -> bool:
    pod = agent(cluster, node)
    return pod is not None and is_ready(pod)


def test_agents_make_their_nodes_ready(cluster: Cluster) -> None:
    assert {tuple(cidrs) for cidrs in blocks(cluster).values()} == {("10.100.0.0/26",), ("10.100.0.64/26",)}
    for name in (FIRST, SECOND):
        conditions = cluster.get("node", name)["status"]["conditions"]
        reasons = {condition["type"]: condition["reason"] for condition in conditions}
        assert reasons["NetworkUnavailable"] == "CiliumIsUp"
    wait_until(lambda: not taints(cluster, FIRST) and not taints(cluster, SECOND), timeout=10, what="no taint")


@pytest.mark.parametrize(
    ("fault", "reason", "started"),
    [("crash", "CrashLoopBackOff", False), ("pull", "ImagePullBackOff", False), ("never-ready", None, True)],
)
def test_a_broken_agent_until_it_is_mended(
    cluster: Cluster, fault: AgentFault, reason: str | None, *, started: bool
) -> None:
    cluster.break_agent(FIRST, fault)
    wait_until(lambda: not agent_ready(cluster, FIRST), timeout=10, what="the agent is not ready")
    broken = container(cluster, FIRST)
    assert broken["state"].get("waiting", {}).get("reason") == reason
    assert broken["started"] is started
    wait_until(lambda: taints(cluster, FIRST) == [TAINT], timeout=10, what="a taint")
    assert is_ready(cluster.get("node", FIRST)), "the CNI configuration is still installed"
    on_first = f"--field-selector=spec.nodeName={FIRST}"
    cluster.kubectl("delete", "pod", "-n", "kube-system", "-l", "k8s-app=cilium", on_first)
    wait_until(lambda: container(cluster, FIRST).get("started") is started, timeout=10, what="the next agent starts")
    assert not agent_ready(cluster, FIRST)
    cluster.repair_agent(FIRST)
    wait_until(lambda: agent_ready(cluster, FIRST), timeout=10, what="the agent is ready again")


def test_a_crashing_agent_is_restarted_again_and_again(cluster: Cluster) -> None:
    before = container(cluster, FIRST)["restartCount"]
    cluster.break_agent(FIRST, "crash")
    wait_until(lambda: container(cluster, FIRST)["restartCount"] >= before + 2, timeout=15, what="two restarts")
    assert "failed to start" in container(cluster, FIRST)["lastState"]["terminated"]["message"]
    cluster.repair_agent(FIRST)
    wait_until(lambda: agent_ready(cluster, FIRST), timeout=10, what="the agent is ready again")


def test_a_node_that_reboots_restarts_its_containers(cluster: Cluster) -> None:
    node, pod = cluster.get("node", FIRST), agent(cluster, FIRST)
    before = container(cluster, FIRST)["restartCount"]
    cluster.reboot(FIRST)
    rebooted = cluster.get("node", FIRST)
    wait_until(lambda: agent_ready(cluster, FIRST), timeout=10, what="the agent is ready again")
    after = container(cluster, FIRST)
    same = agent(cluster, FIRST)

    assert node["status"]["nodeInfo"]["bootID"] != rebooted["status"]["nodeInfo"]["bootID"] != ""
    assert pod is not None
    assert same is not None
    assert pod["metadata"]["uid"] == same["metadata"]["uid"]
    assert after["restartCount"] == before + 1
    assert after["lastState"]["terminated"]["exitCode"] == 255


def test_a_broken_image_crashes_everywhere(cluster: Cluster) -> None:
    cluster.apply(CILIUM.replace("cilium:v1", "cilium:v2-broken"))
    wait_until(
        lambda: any(container(cluster, node).get("state", {}).get("waiting") for node in (FIRST, SECOND)),
        timeout=15,
        what="the first new agent crashes",
    )
    cluster.apply(CILIUM)
    wait_until(
        lambda: all(agent_ready(cluster, node) for node in (FIRST, SECOND)),
        timeout=20,
        what="both agents are ready again",
    )


@pytest.mark.parametrize(
    ("version", "message"),
    [
        pytest.param(
            "1.17.1", "Validating CiliumClusterwideNetworkPolicy 'bad': unexpected validation error: spec", id="1.17"
        ),
        pytest.param("1.18.1", "type=CiliumClusterwideNetworkPolicy name=bad", id="1.18"),
    ],
)
def test_a_validator_fails_until_the_invalid_policy_is_deleted(cluster: Cluster, version: str, message: str) -> None:
    def validator() -> Any:
        return cluster.get("pod", "validator", "kube-system")

    def restarts() -> int:
        return int(validator()["status"].get("containerStatuses", [{}])[0].get("restartCount", 0))

    cluster.apply(POLICIES)
    cluster.apply(VALIDATOR % (FIRST, version))
    try:
        wait_until(lambda: restarts() >= 2, timeout=15, what="two restarts")
        (failed,) = validator()["status"]["containerStatuses"]
        cluster.kubectl("delete", "ciliumclusterwidenetworkpolicy", "bad")
        wait_until(lambda: is_ready(validator()), timeout=15, what="the validator is ready")
    finally:
        cluster.kubectl("delete", "pod", "validator", "-n", "kube-system", "--now")
        cluster.kubectl(
            "delete", "ciliumnetworkpolicies,ciliumclusterwidenetworkpolicies", "-A", "-l", "test=validator"
        )

    assert failed["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert message in failed["lastState"]["terminated"]["message"]
    assert "default/good" in failed["lastState"]["terminated"]["message"]


def test_a_node_keeps_its_network_without_an_agent(cluster: Cluster) -> None:
    before = blocks(cluster)
    cluster.kubectl("delete", "daemonset", "cilium", "-n", "kube-system")
    wait_until(lambda: agent(cluster, FIRST) is None, timeout=10, what="no agent")
    assert cluster.ready_nodes() == 3
    cluster.lose_cni(FIRST)
    wait_until(lambda: cluster.ready_nodes() == 2, timeout=10, what="a node without its network")
    cluster.apply(CILIUM)
    wait_until(lambda: cluster.ready_nodes() == 3, timeout=10, what="the node is ready again")
    assert blocks(cluster) == before


def test_a_cilium_operator_uses_an_appended_cidr_after_its_restart(cluster: Cluster) -> None:
    before = blocks(cluster)
    cluster.add_node(THIRD)
    wait_until(lambda: THIRD in blocks(cluster) and error(cluster, THIRD), timeout=15, what="an error")
    assert error(cluster, THIRD) == "allocator full"
    assert is_ready(cluster.get("node", THIRD)), "the CNI configuration is installed before the node has a block"
    assert not agent_ready(cluster, THIRD)

    patch = {"data": {"cluster-pool-ipv4-cidr": "10.100.0.0/25 10.101.0.0/25"}}
    cluster.kubectl("patch", "configmap", "cilium-config", "-n", "kube-system", "--type=merge", "-p", json.dumps(patch))
    cluster.kubectl("delete", "ciliumnode", THIRD)
    wait_until(lambda: THIRD in blocks(cluster) and error(cluster, THIRD), timeout=15, what="the same error again")

    cluster.kubectl("rollout", "restart", "deployment/cilium-operator", "-n", "kube-system")
    wait_until(lambda: agent_ready(cluster, THIRD), timeout=20, what="the third agent is ready")
    assert blocks(cluster) == before | {THIRD: ["10.101.0.0/26"]}
    assert error(cluster, THIRD) is None


def test_the_block_of_a_removed_node_is_reused(cluster: Cluster) -> None:
    block = blocks(cluster)[SECOND]
    cluster.remove_node(SECOND)
    wait_until(lambda: SECOND not in blocks(cluster), timeout=10, what="its CiliumNode is deleted")
    cluster.add_node("mi-next")
    wait_until(lambda: blocks(cluster).get("mi-next") == block, timeout=10, what="the next node has its block")


def test_the_stand_in_survives_a_kill_and_an_api_server_outage(cluster: Cluster) -> None:
    before = blocks(cluster)
    cluster.processes["cilium"].kill()
    cluster.processes["cilium"].start()
    cluster.stop_api_server()
    cluster.start_api_server()
    cluster.add_node("mi-last")
    wait_until(lambda: blocks(cluster).get("mi-last"), timeout=30, what="a block for a new node")
    assert blocks(cluster).items() >= before.items()
