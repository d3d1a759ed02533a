"""Facts about agents and their nodes from a real API server, and the requests that concern agent pods."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from cilium_hybrid.adapters.kube import agent_pods
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.ports import StaleError
from contract.kube import with_watches
from testbed.api import MERGE_PATCH, STRATEGIC_PATCH
from testbed.cluster import Cluster
from testbed.processes import wait_until

CORE = "/api/v1/namespaces/kube-system"
APPS = "/apis/apps/v1/namespaces/kube-system"
NODE = "mi-agents"
NOWHERE = "mi-nowhere"
QUOTA = "agents"
POLICY = "no-agents"
ADMISSION = "admissionregistration.k8s.io/v1"
LIMIT = 60.0
ATTEMPTS = 11


@pytest.fixture
def node(testbed_cluster: Cluster) -> Iterator[str]:
    testbed_cluster.add_node(NODE)
    yield NODE
    testbed_cluster.remove_node(NODE)


@pytest.fixture
def template() -> dict[str, Any]:
    labels = {"k8s-app": "cilium"}
    spec = {
        "containers": [{"name": "cilium-agent", "image": "quay.io/cilium/cilium:v1.18.6"}],
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "system-node-critical",
    }
    return {"metadata": {"labels": labels}, "spec": spec}


@pytest.fixture
def daemon_set(testbed_cluster: Cluster, template: dict[str, Any]) -> Iterator[Callable[[], None]]:
    def create() -> None:
        spec = {"selector": {"matchLabels": {"k8s-app": "cilium"}}, "template": template}
        manifest = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "cilium"}, "spec": spec}
        testbed_cluster.request("POST", f"{APPS}/daemonsets", manifest)

    yield create
    testbed_cluster.kubectl("delete", "daemonset", "cilium", "-n", "kube-system", "--ignore-not-found")
    pods = ("pods", "-n", "kube-system", "-l", "k8s-app=cilium")
    testbed_cluster.kubectl("delete", *pods, "--force", "--grace-period=0")


class Watching:
    """The observation of a cluster that is being watched."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    async def until(self, cluster: KubeCluster, condition: Callable[[Observation], object]) -> Observation:
        """Return the first observation that meets a condition. Some changes wake nobody, so this also looks again."""
        async with asyncio.timeout(LIMIT):
            while not condition(observation := cluster.observe()):
                self.changed.clear()
                await asyncio.wait([asyncio.ensure_future(self.changed.wait())], timeout=0.1)
        return observation


def watch(cluster: Cluster, use: Callable[[KubeClient, KubeCluster, Watching], Awaitable[Any]]) -> Any:
    async def run(client: KubeClient, kube: KubeCluster) -> Any:
        return await use(client, kube, watching)

    watching = Watching()
    return with_watches(cluster.kubeconfig, run, watching.changed.set)


def put_quota(cluster: Cluster, pods: int) -> None:
    """Limit the pods in kube-system; the status is what the quota controller, which does not run here, would write."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": QUOTA, "namespace": "kube-system"},
        "spec": {"hard": {"pods": str(pods)}},
    }
    cluster.apply(json.dumps(quota))
    status = {"hard": {"pods": str(pods)}, "used": {"pods": str(count_pods(cluster))}}
    cluster.request("PATCH", f"{CORE}/resourcequotas/{QUOTA}/status", {"status": status}, kind=MERGE_PATCH)


def wait_until_admitted(cluster: Cluster) -> None:
    """Wait until the API server no longer enforces a quota or policy that was deleted."""
    path, pod = f"{CORE}/pods?dryRun=All", an_agent("cilium-admitted", NOWHERE)
    wait_until(lambda: cluster.request("POST", path, pod), timeout=LIMIT, what="agents are admitted again")


@pytest.fixture
def quota(testbed_cluster: Cluster) -> Iterator[Callable[[int], None]]:
    yield lambda pods: put_quota(testbed_cluster, pods)
    testbed_cluster.kubectl("delete", "resourcequota", QUOTA, "-n", "kube-system", "--ignore-not-found")
    wait_until_admitted(testbed_cluster)


def count_pods(cluster: Cluster) -> int:
    return len(cluster.request("GET", f"{CORE}/pods")["items"])


def test_a_quota_that_stops_new_agents_is_reported_until_they_are_created(
    testbed_cluster: Cluster, node: str, daemon_set: Callable[[], None], quota: Callable[[int], None]
) -> None:
    def failed_attempts() -> int:
        events = testbed_cluster.request("GET", f"{CORE}/events?fieldSelector=reason=FailedCreate")["items"]
        return sum(event["count"] for event in events)

    async def use(_: KubeClient, cluster: KubeCluster, watching: Watching) -> None:
        await asyncio.to_thread(quota, 0)
        await asyncio.to_thread(daemon_set)
        failing = await watching.until(cluster, lambda seen: seen.agent_create_failure)
        assert "exceeded quota: agents" in failing.agent_create_failure
        assert failing.agents.keys().isdisjoint({node})

        # By then the controller waits for more than a second before it tries again; timestamps are in whole seconds.
        await asyncio.to_thread(wait_until, lambda: failed_attempts() >= ATTEMPTS, timeout=LIMIT, what="attempts fail")
        await asyncio.to_thread(put_quota, testbed_cluster, 100)
        healthy = await watching.until(cluster, lambda seen: node in seen.agents)
        assert healthy.agent_create_failure == ""
        assert healthy.agents[node].version == "1.18.6"
        assert healthy.agents[node].uid
        assert healthy.agents[node].exits == 0

    watch(testbed_cluster, use)


def dry_run(cluster: Cluster) -> Sequence[str]:
    async def use(_: KubeClient, kube: KubeCluster, __: Watching) -> Sequence[str]:
        return await kube.dry_run_agent_pod()

    found: Sequence[str] = watch(cluster, use)
    return found


def test_a_full_quota_refuses_an_agent_only_if_it_would_do_so_after_another_is_gone(
    testbed_cluster: Cluster, node: str, daemon_set: Callable[[], None], quota: Callable[[int], None]
) -> None:
    daemon_set()
    wait_until(lambda: count_agents(testbed_cluster) == 1, timeout=LIMIT, what=f"the agent of {node} exists")
    used = count_pods(testbed_cluster)
    quota(used + 1)
    with_room = dry_run(testbed_cluster)
    quota(used)
    full = dry_run(testbed_cluster)
    quota(used - 1)
    (exceeded,) = dry_run(testbed_cluster)

    assert (with_room, full) == ((), ())
    assert exceeded.startswith("pod of DaemonSet kube-system/cilium: ")
    assert f"exceeded quota: agents, requested: pods=1, used: pods={used}, limited: pods={used - 1}" in exceeded
    assert count_pods(testbed_cluster) == used


def count_agents(cluster: Cluster) -> int:
    return len(cluster.objects("pods", "kube-system", selector="k8s-app=cilium"))


@pytest.fixture
def policy(testbed_cluster: Cluster) -> Iterator[str]:
    message = "agents need an owner team"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    expression = (
        "!has(object.metadata.labels) || !('k8s-app' in object.metadata.labels) || 'team' in object.metadata.labels"
    )
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": expression, "message": message}],
    }
    binding = {"policyName": POLICY, "validationActions": ["Deny"]}
    for kind, policy_spec in (("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", binding)):
        manifest = {"apiVersion": ADMISSION, "kind": kind, "metadata": {"name": POLICY}, "spec": policy_spec}
        testbed_cluster.apply(json.dumps(manifest))
    yield message
    for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
        testbed_cluster.kubectl("delete", kind, POLICY)
    wait_until_admitted(testbed_cluster)


def test_a_policy_that_would_reject_agents_is_reported_with_its_message(
    testbed_cluster: Cluster, policy: str, daemon_set: Callable[[], None]
) -> None:
    without_daemon_set = dry_run(testbed_cluster)
    daemon_set()
    wait_until(lambda: dry_run(testbed_cluster), timeout=LIMIT, what="the policy is in force")
    (rejected,) = dry_run(testbed_cluster)

    assert without_daemon_set == ()
    assert policy in rejected
    assert testbed_cluster.get("pod", agent_pods.PROBE, "kube-system") is None


def an_agent(name: str, node: str) -> dict[str, Any]:
    spec = {"nodeName": node, "containers": [{"name": "cilium-agent", "image": "x"}]}
    metadata = {"name": name, "labels": {"k8s-app": "cilium"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture
def agent(testbed_cluster: Cluster) -> Iterator[PodRef]:
    """An agent on a node without a kubelet, so that its pod keeps terminating once it is deleted."""
    pod = testbed_cluster.request("POST", f"{CORE}/pods", an_agent("cilium-one", NOWHERE))
    yield PodRef("cilium-one", pod["metadata"]["uid"])
    testbed_cluster.kubectl("delete", "pod", "cilium-one", "-n", "kube-system", "--force", "--ignore-not-found")


def test_exactly_the_named_pod_is_deleted_and_stays_visible_while_it_terminates(
    testbed_cluster: Cluster, agent: PodRef
) -> None:
    async def use(_: KubeClient, cluster: KubeCluster, __: Watching) -> None:
        assert cluster.observe().agents[NOWHERE].uid == agent.uid
        with pytest.raises(StaleError, match="cilium-one"):
            await cluster.delete_agent_pods([replace(agent, uid="another")])
        assert cluster.observe().terminating_agents == {}
        await cluster.delete_agent_pods([PodRef("cilium-gone", "x"), agent])
        # The call returns after the watch has shown the deletion.
        observation = cluster.observe()
        assert NOWHERE not in observation.agents
        assert observation.terminating_agents == {NOWHERE: frozenset({agent.uid})}

    watch(testbed_cluster, use)


def test_a_node_or_agent_that_changed_since_it_was_observed_is_stale(
    testbed_cluster: Cluster, node: str, agent: PodRef
) -> None:
    async def use(client: KubeClient, cluster: KubeCluster, watching: Watching) -> None:
        await watching.until(cluster, lambda seen: node in seen.nodes)
        await cluster.require_fresh([node, NOWHERE, "mi-gone"])
        observed = cluster.observe()
        pod = observed.agents[NOWHERE]
        for name, seen, pods in (
            (node, replace(observed.nodes[node], boot_id="before the reboot"), {}),
            (node, None, {}),
            ("mi-gone", observed.nodes[node], {}),
            (NOWHERE, None, {}),
            (NOWHERE, None, {pod.name: replace(pod, exits=2)}),
        ):
            with pytest.raises(StaleError, match=name):
                await agent_pods.require_fresh(client, name, seen, pods)

    assert agent.uid
    watch(testbed_cluster, use)


def a_sandbox_event(name: str, node: str, message: str) -> dict[str, Any]:
    """An Event as a kubelet writes it."""
    now = "2026-03-01T11:00:00Z"
    return {
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"},
        "reason": "FailedCreatePodSandBox",
        "message": f'Failed to create pod sandbox: failed to setup network for sandbox "{"0a" * 32}": {message}',
        "source": {"component": "kubelet", "host": node},
        "type": "Warning",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
    }


def test_failures_to_set_up_the_network_of_pods_are_counted_by_hybrid_node(testbed_cluster: Cluster, node: str) -> None:
    events = "/api/v1/namespaces/default/events"
    cause = 'plugin type="cilium-cni" failed (add): connection refused'

    async def use(_: KubeClient, cluster: KubeCluster, watching: Watching) -> None:
        def request(verb: str, path: str, body: Mapping[str, Any], **more: str) -> None:
            testbed_cluster.request(verb, path, body, **more)

        for name, where in (("web.1", node), ("web.2", "a-cloud-node")):
            await asyncio.to_thread(request, "POST", events, a_sandbox_event(name, where, cause))
        first = await watching.until(cluster, lambda seen: seen.sandbox_failures)
        await asyncio.to_thread(request, "PATCH", f"{events}/web.1", {"count": 4}, kind=MERGE_PATCH)
        later = await watching.until(cluster, lambda seen: seen.sandbox_failures[node].count > 1)

        assert first.sandbox_failures.keys() == later.sandbox_failures.keys() == {node}
        assert (later.sandbox_failures[node].count, later.sandbox_failures[node].message) == (4, cause)

    try:
        watch(testbed_cluster, use)
    finally:
        testbed_cluster.kubectl("delete", "events", "-n", "default", "web.1", "web.2", "--ignore-not-found")


def test_the_failing_template_of_the_cilium_operator_is_told_from_the_one_before(testbed_cluster: Cluster) -> None:
    labels = {"app.kubernetes.io/name": "cilium-operator"}
    pod = {"containers": [{"name": "cilium-operator", "image": "x"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    deployment = {"metadata": {"name": "cilium-operator"}, "spec": spec}
    path = f"{APPS}/deployments/cilium-operator"

    def available() -> bool:
        return bool(testbed_cluster.request("GET", path).get("status", {}).get("availableReplicas"))

    async def use(_: KubeClient, cluster: KubeCluster, watching: Watching) -> None:
        observation = await watching.until(cluster, lambda seen: seen.cilium_operator and seen.cilium_operator.current)
        assert observation.cilium_operator is not None
        assert not observation.cilium_operator.outdated_available
        assert observation.cilium_operator.failure_message == ""
        # No node has this label, so the pods of the new template stay unscheduled.
        body = {"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "true"}}}}}
        await asyncio.to_thread(testbed_cluster.request, "PATCH", path, body, kind=STRATEGIC_PATCH)
        observation = await watching.until(
            cluster, lambda seen: seen.cilium_operator and seen.cilium_operator.failure_message
        )
        assert observation.cilium_operator is not None
        assert observation.cilium_operator.outdated_available
        assert "node" in observation.cilium_operator.failure_message
        assert not observation.cilium_operator.current

    testbed_cluster.add_node("ip-operator", hybrid=False)
    try:
        testbed_cluster.request("POST", f"{APPS}/deployments", deployment)
        wait_until(available, timeout=LIMIT, what="the Deployment is available")
        watch(testbed_cluster, use)
    finally:
        testbed_cluster.kubectl("delete", "deployment", "cilium-operator", "-n", "kube-system", "--ignore-not-found")
        testbed_cluster.remove_node("ip-operator")


def test_a_node_whose_clock_is_wrong_is_known_by_its_heartbeat(testbed_cluster: Cluster) -> None:
    name = "mi-slow"
    body = {"metadata": {"name": name, "labels": {"eks.amazonaws.com/compute-type": "hybrid"}}}

    async def use(_: KubeClient, cluster: KubeCluster, watching: Watching) -> None:
        def report(heartbeat: str) -> None:
            condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat}
            status = {"status": {"conditions": [condition]}}
            testbed_cluster.request("PATCH", f"/api/v1/nodes/{name}/status", status, kind=STRATEGIC_PATCH)

        await asyncio.to_thread(report, "2020-01-01T00:00:00Z")
        observation = await watching.until(cluster, lambda seen: seen.nodes[name].clock_skew)
        assert observation.nodes[name].clock_skew > 365 * 24 * 60
        now = (await asyncio.to_thread(testbed_cluster.kubectl, "get", "node", name, "-o", NOW)).strip()
        await asyncio.to_thread(report, now)
        await watching.until(cluster, lambda seen: not seen.nodes[name].clock_skew)

    testbed_cluster.request("POST", "/api/v1/nodes", body)
    try:
        watch(testbed_cluster, use)
    finally:
        testbed_cluster.request("DELETE", f"/api/v1/nodes/{name}")


NOW = "jsonpath={.metadata.creationTimestamp}"
