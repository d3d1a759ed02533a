"""Each leg of one node of twenty is broken in turn: the status names it, with the cause, until it is mended."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.site import Site, a_site
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
def twenty(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Site]:
    with a_site(tmp_path_factory.mktemp("cluster"), registry, hybrid=20) as site:
        site.operator.start()
        # The gated rollout would mend what the test breaks.
        site.apply(upgrade={"rollout": {"strategy": "RollingUpdate"}})
        site.wait_for("InSync", ready="True")
        yield site
        site.operator.stop()


def _agent(site: Site) -> str:
    query = f"{PODS}?labelSelector=k8s-app%3Dcilium&fieldSelector=spec.nodeName%3D{NODE}"
    (pod,) = site.cluster.request("GET", query)["items"]
    return f"{PODS}/{pod['metadata']['name']}"


def _without_cilium(step: Step) -> Step:
    """Nobody puts right what the step breaks, until `_cilium_goes_on`."""

    def broken(site: Site) -> None:
        site.cluster.processes["cilium"].kill()
        step(site)

    return broken


def _cilium_goes_on(site: Site) -> None:
    site.cluster.processes["cilium"].start()


def _say_of_the_block(error: str | None) -> Step:
    body = {"status": {"ipam": {"operator-status": {"error": error}}}}
    return lambda site: site.cluster.request("PATCH", f"{CILIUM_NODES}/{NODE}/status", body, kind=MERGE_PATCH)


def _taint(site: Site) -> None:
    site.cluster.request("PATCH", f"/api/v1/nodes/{NODE}", {"spec": {"taints": [TAINT]}}, kind=MERGE_PATCH)


def _age_the_agent(site: Site) -> None:
    body = {"metadata": {"annotations": {DIGEST: "sha256:older"}}}
    site.cluster.request("PATCH", _agent(site), body, kind=MERGE_PATCH)


def _take_the_agent(site: Site) -> None:
    site.cluster.processes["kube-controller-manager"].kill()
    site.cluster.request("DELETE", _agent(site))


def _set_room(pods: int) -> Step:
    """How many pods the node takes."""
    body = {"status": {"allocatable": {"pods": str(pods)}}}
    return lambda site: site.cluster.request("PATCH", f"/api/v1/nodes/{NODE}/status", body, kind=MERGE_PATCH)


def _fill_the_node(site: Site) -> None:
    _set_room(0)(site)
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
        lambda site: site.cluster.mend_agent(NODE),
        "AgentNotReady",
        "the agent is starting",
        id="Agent, which is not Ready",
    ),
    pytest.param(
        lambda site: site.cluster.break_agent(NODE, "crash"),
        lambda site: site.cluster.mend_agent(NODE),
        "AgentNotReady",
        'CrashLoopBackOff: level=fatal msg="failed to start: the agent was told to crash"',
        id="Agent, which crashes",
    ),
    pytest.param(
        lambda site: site.cluster.break_agent(NODE, "pull"),
        lambda site: site.cluster.mend_agent(NODE),
        "AgentNotReady",
        "ImagePullBackOff: Back-off pulling image",
        id="Agent, whose image is missing",
    ),
    pytest.param(
        _take_the_agent,
        lambda site: site.cluster.processes["kube-controller-manager"].start(),
        "AgentNotReady",
        "no Cilium agent pod on the node, which is Ready by CNI files that were left on it",
        id="Agent, which is not there",
    ),
    pytest.param(
        _fill_the_node,
        _set_room(110),
        "AgentNotReady",
        "the agent's pod has no place on the node: Unschedulable: 0/22 nodes are available: 1 Too many pods",
        id="Agent, which has no place",
    ),
    pytest.param(
        _say_of_the_block("allocator not configured for the requested CIDR 10.85.0.0/25"),
        _say_of_the_block(None),
        "NoPodCIDR",
        "allocator not configured",
        id="NoPodCIDR",
    ),
    pytest.param(
        _without_cilium(lambda site: site.cluster.lose_cni(NODE)),
        _cilium_goes_on,
        "NodeNotReady",
        "cni plugin not initialized",
        id="NodeNotReady",
    ),
    pytest.param(
        _age_the_agent,
        lambda site: site.cluster.request("DELETE", _agent(site)),
        "Version",
        "the agent runs an older configuration",
        id="Version",
    ),
    pytest.param(
        _without_cilium(_taint),
        _cilium_goes_on,
        "AgentTaintPresent",
        "agent-not-ready is still there",
        id="AgentTaintPresent",
    ),
]


def _only(site: Site, reason: str, words: str) -> dict[str, Any] | None:
    unready: list[dict[str, Any]] = site.status()["nodes"]["unready"]
    fits = len(unready) == 1 and unready[0]["reason"] == reason and words in unready[0]["message"]
    return unready[0] if fits else None


@pytest.mark.parametrize(("break_it", "mend_it", "reason", "words"), BROKEN)
def test_the_leg_that_fails_is_named_until_it_is_mended(
    twenty: Site, break_it: Step, mend_it: Step, reason: str, words: str
) -> None:
    break_it(twenty)
    try:
        failing = wait_until(lambda: _only(twenty, reason, words), timeout=SECONDS, what=f"{reason} is told")
        status, told = twenty.status(), twenty.condition("NodesReady")
    finally:
        mend_it(twenty)

    assert failing["name"] == NODE
    assert status["nodes"]["summary"] == "19/20"
    assert told is not None
    assert (told["status"], told["message"]) == ("False", f"{NODE} ({reason}: {failing['message']})")
    wait_until(lambda: twenty.status()["nodes"]["summary"] == "20/20", timeout=2 * SECONDS, what=f"{reason} is mended")
    assert twenty.status()["nodes"]["unready"] == []
    assert twenty.wait_for("InSync", ready="True")


def _a_stray(name: str, label: str) -> dict[str, Any]:
    """A pod as the workload of that name makes it, which an affinity that somebody took away let go astray."""
    spec = {"nodeName": CLOUD, "containers": [{"name": "x", "image": "registry.example/x"}]}
    metadata = {"name": name, "labels": {label: name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_other_pods_of_cilium_on_a_cloud_node_are_found(twenty: Site) -> None:
    strays = {
        "cilium-operator": "app.kubernetes.io/name",
        "cilium-envoy": "app.kubernetes.io/name",
        "cilium-pre-flight-check": "k8s-app",
    }
    for name, label in strays.items():
        twenty.cluster.request("POST", PODS, _a_stray(name, label))
    told = (
        f"other pods of Cilium on cloud nodes: cilium-envoy on {CLOUD}, cilium-operator on {CLOUD}, "
        f"cilium-pre-flight-check on {CLOUD}: see that the node affinity of DaemonSet cilium-envoy, "
        "DaemonSet cilium-pre-flight-check, Deployment cilium-operator is the released one"
    )
    wait_until(lambda: twenty.status()["findings"] == [told], timeout=SECONDS, what="they are found")
    for name in strays:
        twenty.cluster.kubectl("delete", "pod", name, "-n", "kube-system", "--now")

    wait_until(lambda: not twenty.status()["findings"], timeout=SECONDS, what="they are gone")


def test_cilium_on_a_cloud_node_is_found(twenty: Site) -> None:
    stray = {"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": CLOUD}, "spec": {"ipam": {}}}
    twenty.cluster.request("POST", CILIUM_NODES, stray)
    (finding,) = wait_until(lambda: twenty.status()["findings"], timeout=SECONDS, what="it is found")
    ready = twenty.wait_for("InSync", ready="True")
    twenty.cluster.request("DELETE", f"{CILIUM_NODES}/{CLOUD}")

    assert finding.startswith(f"CiliumNodes of cloud nodes: {CLOUD}: ")
    assert "see status.findings" in ready["message"]
    wait_until(lambda: not twenty.status()["findings"], timeout=SECONDS, what="it is gone")
