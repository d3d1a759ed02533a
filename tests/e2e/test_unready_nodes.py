"""One node of twenty is broken in each way in turn: the status names it and the cause until it is repaired."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.site import Site, start_site
from testbed.api import MERGE_PATCH
from testbed.nodes import hybrid_name
from testbed.processes import wait_until
from testbed.registry import Registry

NODE = hybrid_name(7)
CLOUD = "ip-192-168-0-1"
SECONDS = 10.0
CILIUM_NODES = "/apis/cilium.io/v2/ciliumnodes"
PODS = "/api/v1/namespaces/kube-system/pods"
DIGEST = "ciliumhybrid.io/config-digest"
TAINT = {"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}
Step = Callable[[Site], object]


@pytest.fixture(scope="module")
def twenty_nodes(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Site]:
    with start_site(tmp_path_factory.mktemp("cluster"), registry, hybrid=20) as site:
        site.operator.start()
        # The gated rollout would repair what the test breaks.
        site.apply(upgrade={"rollout": {"strategy": "RollingUpdate"}})
        site.wait_for("InSync", ready="True")
        yield site
        site.operator.stop()


def _agent(site: Site) -> str:
    query = f"{PODS}?labelSelector=k8s-app%3Dcilium&fieldSelector=spec.nodeName%3D{NODE}"
    (pod,) = site.cluster.request("GET", query)["items"]
    return f"{PODS}/{pod['metadata']['name']}"


def _without_cilium(step: Step) -> Step:
    """Stop Cilium first, which would repair what the step breaks; `_start_cilium` starts it again."""

    def broken(site: Site) -> None:
        site.cluster.processes["cilium"].kill()
        step(site)

    return broken


def _start_cilium(site: Site) -> None:
    site.cluster.processes["cilium"].start()


def _set_ipam_error(error: str | None) -> Step:
    body = {"status": {"ipam": {"operator-status": {"error": error}}}}
    return lambda site: site.cluster.request("PATCH", f"{CILIUM_NODES}/{NODE}/status", body, kind=MERGE_PATCH)


def _taint(site: Site) -> None:
    site.cluster.request("PATCH", f"/api/v1/nodes/{NODE}", {"spec": {"taints": [TAINT]}}, kind=MERGE_PATCH)


def _outdate_agent(site: Site) -> None:
    body = {"metadata": {"annotations": {DIGEST: "sha256:outdated"}}}
    site.cluster.request("PATCH", _agent(site), body, kind=MERGE_PATCH)


def _delete_agent(site: Site) -> None:
    site.cluster.processes["kube-controller-manager"].kill()
    site.cluster.request("DELETE", _agent(site))


def _set_allocatable(pods: int) -> Step:
    body = {"status": {"allocatable": {"pods": str(pods)}}}
    return lambda site: site.cluster.request("PATCH", f"/api/v1/nodes/{NODE}/status", body, kind=MERGE_PATCH)


def _fill_node(site: Site) -> None:
    _set_allocatable(0)(site)
    site.cluster.request("DELETE", _agent(site))


BROKEN = [
    pytest.param(
        lambda site: site.cluster.disconnect(NODE),
        lambda site: site.cluster.reconnect(NODE),
        "NodeDisconnected",
        "does not report",
        id="NodeDisconnected",
    ),
    pytest.param(
        lambda site: site.cluster.break_agent(NODE, "never-ready"),
        lambda site: site.cluster.repair_agent(NODE),
        "AgentNotReady",
        "agent is starting",
        id="AgentNotReady, an agent that is not Ready",
    ),
    pytest.param(
        lambda site: site.cluster.break_agent(NODE, "crash"),
        lambda site: site.cluster.repair_agent(NODE),
        "AgentNotReady",
        "CrashLoopBackOff: the agent was told to crash",
        id="AgentNotReady, an agent that crashes",
    ),
    pytest.param(
        lambda site: site.cluster.break_agent(NODE, "pull"),
        lambda site: site.cluster.repair_agent(NODE),
        "AgentNotReady",
        "ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image",
        id="AgentNotReady, a missing image",
    ),
    pytest.param(
        _delete_agent,
        lambda site: site.cluster.processes["kube-controller-manager"].start(),
        "AgentNotReady",
        "no Cilium agent pod on the node; the node is Ready because of leftover CNI files",
        id="AgentNotReady, no agent",
    ),
    pytest.param(
        _fill_node,
        _set_allocatable(110),
        "AgentNotReady",
        "agent pod cannot be scheduled on the node: Unschedulable: 0/22 nodes are available: 1 Too many pods",
        id="AgentNotReady, an unschedulable agent",
    ),
    pytest.param(
        _set_ipam_error("allocator not configured for the requested CIDR 10.85.0.0/25"),
        _set_ipam_error(None),
        "NoPodCIDR",
        "allocator not configured",
        id="NoPodCIDR",
    ),
    pytest.param(
        _without_cilium(lambda site: site.cluster.lose_cni(NODE)),
        _start_cilium,
        "NodeNotReady",
        "cni plugin not initialized",
        id="NodeNotReady",
    ),
    pytest.param(
        _without_cilium(_taint),
        _start_cilium,
        "AgentTaintPresent",
        "agent-not-ready not removed yet",
        id="AgentTaintPresent",
    ),
]


def _only(site: Site, reason: str, words: str) -> dict[str, Any] | None:
    unready: list[dict[str, Any]] = site.status()["nodes"]["unready"]
    fits = len(unready) == 1 and unready[0]["reason"] == reason and words in unready[0]["message"]
    return unready[0] if fits else None


@pytest.mark.parametrize(("break_node", "repair_node", "reason", "words"), BROKEN)
def test_an_unready_node_is_named_with_its_reason_until_it_is_repaired(
    twenty_nodes: Site, break_node: Step, repair_node: Step, reason: str, words: str
) -> None:
    break_node(twenty_nodes)
    try:
        unready = wait_until(lambda: _only(twenty_nodes, reason, words), timeout=SECONDS, what=f"{reason} is reported")
        status, nodes_ready = twenty_nodes.status(), twenty_nodes.condition("NodesReady")
    finally:
        repair_node(twenty_nodes)

    assert unready["name"] == NODE
    assert status["nodes"]["summary"] == "19/20"
    assert nodes_ready is not None
    assert (nodes_ready["status"], nodes_ready["message"]) == ("False", f"{NODE} ({reason}: {unready['message']})")
    wait_until(
        lambda: twenty_nodes.status()["nodes"]["summary"] == "20/20", timeout=2 * SECONDS, what=f"{reason} is gone"
    )
    assert twenty_nodes.status()["nodes"]["unready"] == []
    assert twenty_nodes.wait_for("InSync", ready="True")


def test_a_healthy_node_with_an_outdated_agent_is_ready_and_not_updated(twenty_nodes: Site) -> None:
    _outdate_agent(twenty_nodes)
    try:
        nodes = wait_until(
            lambda: _with_updated(twenty_nodes, "19/20"), timeout=SECONDS, what="the outdated agent is counted"
        )
    finally:
        twenty_nodes.cluster.request("DELETE", _agent(twenty_nodes))

    assert (nodes["ready"], nodes["summary"], nodes["upToDate"]) == (20, "20/20", 19)
    wait_until(lambda: _with_updated(twenty_nodes, "20/20"), timeout=2 * SECONDS, what="the new agent is counted")
    wait_until(
        lambda: twenty_nodes.status()["nodes"]["summary"] == "20/20", timeout=2 * SECONDS, what="the node is ready"
    )
    assert twenty_nodes.wait_for("InSync", ready="True")


def _with_updated(site: Site, updated: str) -> dict[str, Any] | None:
    nodes: dict[str, Any] = site.status()["nodes"]
    return nodes if nodes["updated"] == updated and nodes["summary"] == "20/20" else None


def _a_stray(name: str, label: str) -> dict[str, Any]:
    """Return a pod of the workload of that name, on a cloud node because someone removed its node affinity."""
    spec = {"nodeName": CLOUD, "containers": [{"name": "x", "image": "registry.example/x"}]}
    metadata = {"name": name, "labels": {label: name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_other_pods_of_cilium_on_a_cloud_node_are_reported(twenty_nodes: Site) -> None:
    strays = {
        "cilium-operator": "app.kubernetes.io/name",
        "cilium-envoy": "app.kubernetes.io/name",
        "cilium-pre-flight-check": "k8s-app",
    }
    for name, label in strays.items():
        twenty_nodes.cluster.request("POST", PODS, _a_stray(name, label))
    expected = (
        f"other Cilium pods on cloud nodes: cilium-envoy on {CLOUD}, cilium-operator on {CLOUD}, "
        f"cilium-pre-flight-check on {CLOUD}; restore the node affinity of DaemonSet cilium-envoy, "
        "DaemonSet cilium-pre-flight-check, Deployment cilium-operator"
    )
    wait_until(lambda: twenty_nodes.status()["findings"] == [expected], timeout=SECONDS, what="the pods are reported")
    for name in strays:
        twenty_nodes.cluster.kubectl("delete", "pod", name, "-n", "kube-system", "--now")

    wait_until(lambda: not twenty_nodes.status()["findings"], timeout=SECONDS, what="the finding is gone")


def test_a_cilium_node_of_a_cloud_node_is_reported(twenty_nodes: Site) -> None:
    stray = {"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": CLOUD}, "spec": {"ipam": {}}}
    twenty_nodes.cluster.request("POST", CILIUM_NODES, stray)
    (finding,) = wait_until(
        lambda: twenty_nodes.status()["findings"], timeout=SECONDS, what="the CiliumNode is reported"
    )
    ready = twenty_nodes.wait_for("InSync", ready="True")
    twenty_nodes.cluster.request("DELETE", f"{CILIUM_NODES}/{CLOUD}")

    assert "with a CiliumNode, whose block counts as used" in finding
    assert CLOUD in finding
    assert "see status.findings" in ready["message"]
    wait_until(lambda: not twenty_nodes.status()["findings"], timeout=SECONDS, what="the finding is gone")
