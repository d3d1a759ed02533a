from typing import Any

import pytest

from builders import EARLIER, NODE, a_record
from cilium_hybrid.adapters.kube import facts
from cilium_hybrid.plan.observation import (
    AGENT_TAINT,
    AgentPod,
    AgentSet,
    CiliumNode,
    CiliumOperator,
    CiliumPod,
    ForeignPod,
    HybridNode,
    PoolConfig,
    UnplacedAgent,
)
from cilium_hybrid.plan.values import CONFIG_DIGEST

CREATED, SINCE = "2026-03-01T11:00:00Z", "2026-03-01T12:00:00Z"


def a_raw_node(*, conditions: Any = (), taints: Any = None, labels: Any = None) -> dict[str, Any]:
    metadata = {"name": NODE, "creationTimestamp": CREATED, "labels": labels}
    return {"metadata": metadata, "spec": {"taints": taints}, "status": {"conditions": list(conditions)}}


def a_raw_ready(status: str, **more: Any) -> dict[str, Any]:
    return {"type": "Ready", "status": status, "lastTransitionTime": SINCE, "message": "kubelet\n says so", **more}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            a_raw_node(conditions=[{"type": "MemoryPressure", "status": "False"}, a_raw_ready("True")]),
            HybridNode(NODE, "True"),
            id="Ready",
        ),
        pytest.param(
            a_raw_node(conditions=[a_raw_ready("False")]),
            HybridNode(NODE, "False", "kubelet says so"),
            id="not Ready, with a message of two lines",
        ),
        pytest.param(
            a_raw_node(conditions=[a_raw_ready("Unknown", message=None)]),
            HybridNode(NODE, "Unknown"),
            id="Unknown",
        ),
        pytest.param(a_raw_node(), HybridNode(NODE, "False"), id="no condition yet"),
        pytest.param(
            {"metadata": {"name": NODE, "creationTimestamp": CREATED}},
            HybridNode(NODE, "False"),
            id="no status yet",
        ),
        pytest.param(
            a_raw_node(conditions=[a_raw_ready("True")], taints=[{"key": "x"}, {"key": AGENT_TAINT}]),
            HybridNode(NODE, "True", taints=("x", AGENT_TAINT)),
            id="Cilium's taint",
        ),
    ],
)
def test_readiness_and_taints_of_a_node(raw: dict[str, Any], expected: HybridNode) -> None:
    assert facts.hybrid_node(raw) == expected


def test_kernel_max_pods_and_ipv4_addresses_of_a_node() -> None:
    addresses = [("Hostname", "10.9.9.9"), ("InternalIP", "10.80.0.11"), ("InternalIP", "fd00::1"), ("ExternalIP", "x")]
    raw = a_raw_node()
    raw["status"] |= {
        "addresses": [{"type": kind, "address": address} for kind, address in addresses],
        "nodeInfo": {"kernelVersion": "5.4.0-1103-aws"},
        "capacity": {"cpu": "8", "pods": "110"},
    }
    node = facts.hybrid_node(raw)

    assert (node.kernel, node.max_pods) == ("5.4.0-1103-aws", 110)
    assert list(map(str, node.addresses)) == [f"10.80.0.11, address of node {NODE}"]
    assert facts.node_addresses(raw) == node.addresses


@pytest.mark.parametrize(
    ("labels", "keys", "expected"),
    [
        pytest.param(
            {"topology.kubernetes.io/zone": "a", "x": "1"}, None, {"topology.kubernetes.io/zone": "a"}, id="default"
        ),
        pytest.param({"topology.kubernetes.io/zone": "a", "x": "1"}, {"x", "y"}, {"x": "1"}, id="other labels"),
        pytest.param({"x": "1"}, (), {}, id="none requested"),
        pytest.param(None, {"x"}, {}, id="node without labels"),
    ],
)
def test_only_requested_labels_of_a_node_are_kept(labels: Any, keys: Any, expected: dict[str, str]) -> None:
    raw = a_raw_node(labels=labels)
    node = facts.hybrid_node(raw) if keys is None else facts.hybrid_node(raw, keys)

    assert node.labels == expected


@pytest.mark.parametrize("pods", [None, "", "x", "-1"], ids=repr)
def test_an_invalid_pod_capacity_is_unknown(pods: str | None) -> None:
    raw = a_raw_node()
    raw["status"] |= {"capacity": {} if pods is None else {"pods": pods}}

    assert facts.hybrid_node(raw).max_pods is None


def test_addresses_of_services() -> None:
    of_service_cidr = facts.service_cidrs(
        {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["172.20.0.0/16", "fd00::/108"]}}
    )
    metadata = {"namespace": "default", "name": "kubernetes"}
    of_service = facts.service_addresses({"metadata": metadata, "spec": {"clusterIPs": ["172.20.0.1"]}})

    assert list(map(str, of_service_cidr)) == ["172.20.0.0/16, ServiceCIDR kubernetes"]
    assert list(map(str, of_service)) == ["172.20.0.1, address of Service default/kubernetes"]
    assert facts.service_cidrs({"metadata": {"name": "x"}}) == facts.service_addresses({"metadata": metadata}) == ()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({"spec": {"nodeName": NODE}}, ForeignPod("kube-system/aws-node-x", NODE), id="scheduled"),
        pytest.param({"spec": {}}, None, id="not scheduled yet"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Failed"}}, None, id="failed"),
    ],
)
def test_a_pod_of_another_cni(raw: dict[str, Any], expected: ForeignPod | None) -> None:
    assert facts.foreign_pod({"metadata": {"namespace": "kube-system", "name": "aws-node-x"}} | raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({"spec": {"nodeName": NODE}}, NODE, id="running"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Pending"}}, NODE, id="starting"),
        pytest.param({"spec": {}}, "", id="not scheduled yet"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Failed"}}, None, id="evicted"),
    ],
)
def test_node_and_workload_of_other_cilium_pods(raw: dict[str, Any], expected: str | None) -> None:
    named = {"name": "cilium-operator-x", "labels": {"app.kubernetes.io/name": "cilium-operator"}}
    pod = None if expected is None else CiliumPod("cilium-operator-x", expected, "Deployment cilium-operator")

    assert facts.cilium_pod({"metadata": named} | raw) == pod
    assert facts.cilium_pod({"metadata": named | {"deletionTimestamp": CREATED}} | raw) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({"conditions": [a_raw_ready("True")]}, "", id="Ready"),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "none"}]},
            "Unschedulable: none",
            id="unschedulable",
        ),
        pytest.param({"conditions": [{"type": "PodScheduled", "status": "True"}]}, "", id="scheduled"),
        pytest.param(
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]},
            "ErrImagePull: no such image",
            id="image is missing",
        ),
        pytest.param(
            {"containerStatuses": [{"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 2}}}]},
            "CrashLoopBackOff: Error, exit code 2",
            id="crashed and restarted",
        ),
    ],
)
def test_failure_message_of_other_cilium_pods(status: dict[str, Any], expected: str) -> None:
    named = {"name": "cilium-operator-x", "labels": {"app.kubernetes.io/name": "cilium-operator"}}
    pod = facts.cilium_pod({"metadata": named, "spec": {}, "status": status})

    assert pod is not None
    assert pod.failure_message == expected


def test_a_long_message_is_truncated() -> None:
    node = facts.hybrid_node(a_raw_node(conditions=[a_raw_ready("False", message="x" * 1000)]))

    assert node.message == "x" * 199 + "…"


def a_raw_pod(status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "cilium-x", **metadata},
        "spec": {"nodeName": NODE},
        "status": status or {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def an_unscheduled_pod(scheduled: str | None, key: str = "metadata.name") -> dict[str, Any]:
    """A pod of a DaemonSet that is not scheduled to its node yet."""
    term = {"matchFields": [{"key": key, "operator": "In", "values": [NODE]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    condition = {"type": "PodScheduled", "status": scheduled, "reason": "Unschedulable", "message": "Too many pods"}
    return {
        "metadata": {"name": "cilium-x"},
        "spec": {"affinity": affinity},
        "status": {"phase": "Pending", "conditions": [condition] if scheduled else []},
    }


def waiting(reason: str, message: str = "", last: str | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {"state": {"waiting": {"reason": reason, "message": message}}}
    if last is not None:
        container["lastState"] = {"terminated": {"message": last, "exitCode": 1}}
    return container


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(a_raw_pod(), AgentPod("cilium-x", NODE, True, None), id="Ready"),
        pytest.param(
            a_raw_pod(annotations={CONFIG_DIGEST: "sha256:1"}),
            AgentPod("cilium-x", NODE, True, "sha256:1"),
            id="with a configuration digest",
        ),
        pytest.param(
            a_raw_pod(deletionTimestamp=SINCE),
            AgentPod("cilium-x", NODE, True, None, terminating=True),
            id="terminating",
        ),
        pytest.param(a_raw_pod({"phase": "Pending"}), AgentPod("cilium-x", NODE, False, None), id="starting"),
        pytest.param({"metadata": {"name": "cilium-x"}}, None, id="no spec"),
        pytest.param({"metadata": {"name": "cilium-x"}, "spec": {"nodeName": ""}}, None, id="empty node name"),
        pytest.param(
            an_unscheduled_pod("False"), UnplacedAgent(NODE, "Unschedulable: Too many pods"), id="unschedulable"
        ),
        pytest.param(an_unscheduled_pod(None), None, id="scheduler has not tried yet"),
        pytest.param(an_unscheduled_pod("False", key="metadata.uid"), None, id="affinity to another field"),
    ],
)
def test_an_agent_pod(raw: dict[str, Any], expected: AgentPod | UnplacedAgent | None) -> None:
    assert facts.agent_pod(raw) == expected


def scheduled_agent(raw: dict[str, Any]) -> AgentPod:
    """The fact of an agent that is scheduled."""
    pod = facts.agent_pod(raw)
    assert isinstance(pod, AgentPod)
    return pod


def test_failure_and_crash_message_of_an_agent() -> None:
    crashed = waiting("CrashLoopBackOff", last="kernel too old")
    waiting_agent = scheduled_agent(a_raw_pod({"containerStatuses": [crashed]}))
    restarted = scheduled_agent(a_raw_pod({"containerStatuses": [crashed | RUNS]}))
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [crashed | RUNS]}
    ready_again = scheduled_agent(a_raw_pod(ready))

    assert (waiting_agent.failure_message, waiting_agent.crash_message) == ("CrashLoopBackOff: kernel too old",) * 2
    assert (restarted.failure_message, restarted.crash_message) == ("", "CrashLoopBackOff: kernel too old")
    assert (ready_again.failure_message, ready_again.crash_message) == ("", "")


@pytest.mark.parametrize(
    ("generation", "observed", "expected"),
    [
        pytest.param(3, 3, True, id="observed the newest generation"),
        pytest.param(3, 2, False, id="observed an older generation"),
        pytest.param(3, None, False, id="observed none yet"),
    ],
)
def test_whether_a_controller_has_observed_its_workload(generation: int, observed: int | None, expected: bool) -> None:
    numbers = {"availableReplicas": 1, "updatedReplicas": 2, "replicas": 2}
    status = numbers | ({} if observed is None else {"observedGeneration": observed})
    raw = {"metadata": {"generation": generation}, "spec": {"replicas": 2, "template": {}}, "status": status}

    assert facts.cilium_operator(raw) == CiliumOperator(2, 1, expected, expected, generation)
    assert facts.agent_set(raw) == AgentSet(None, expected, generation)


def test_a_deployment_without_numbers_has_one_replica_and_no_available_one() -> None:
    assert facts.cilium_operator({"metadata": {}, "spec": {}}) == CiliumOperator(1, 0, observed=True, current=False)


@pytest.mark.parametrize(
    ("status", "current"),
    [
        pytest.param({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}, True, id="one available replica"),
        pytest.param({"replicas": 2, "updatedReplicas": 2}, False, id="no available replica"),
        pytest.param({"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}, False, id="old replicas remain"),
    ],
)
def test_the_cilium_operator_is_current_without_old_replicas_and_with_an_available_one(
    status: dict[str, Any], current: bool
) -> None:
    assert facts.cilium_operator({"metadata": {}, "spec": {}, "status": status}).current is current


RUNS = {"state": {"running": {"startedAt": "2026-03-01T11:00:00Z"}}}


@pytest.mark.parametrize(
    ("containers", "started"),
    [
        pytest.param([RUNS], True, id="running"),
        pytest.param([RUNS, waiting("ContainerCreating")], False, id="one container is not running yet"),
        pytest.param([], False, id="no containers"),
    ],
)
def test_whether_all_containers_of_an_agent_started(containers: list[Any], started: bool) -> None:
    pod = scheduled_agent(a_raw_pod({"conditions": [], "containerStatuses": containers}))

    assert pod.started is started
    assert pod.ready_since is None


def test_the_time_since_which_an_agent_is_ready() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T11:00:00Z"}
    pod = scheduled_agent(a_raw_pod({"conditions": [ready]}))

    assert pod.ready_since == EARLIER


def test_the_configuration_digest_of_the_daemon_set_is_in_its_pod_template() -> None:
    template = {"metadata": {"annotations": {CONFIG_DIGEST: "sha256:1"}}}

    assert facts.agent_set({"metadata": {}, "spec": {"template": template}}).config_digest == "sha256:1"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({}, CiliumNode(NODE), id="no block yet"),
        pytest.param(
            {"spec": {"ipam": {"podCIDRs": ["10.1.0.0/25"]}}}, CiliumNode(NODE, ("10.1.0.0/25",)), id="block assigned"
        ),
        pytest.param(
            {"spec": {}, "status": {"ipam": {"operator-status": {"error": "full"}}}},
            CiliumNode(NODE, (), "full"),
            id="error",
        ),
    ],
)
def test_a_cilium_node(raw: dict[str, Any], expected: CiliumNode) -> None:
    assert facts.cilium_node({"metadata": {"name": NODE}} | raw) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(None, PoolConfig((), None), id="empty"),
        pytest.param(
            {"cluster-pool-ipv4-cidr": "10.1.0.0/16 10.2.0.0/16", "cluster-pool-ipv4-mask-size": "25"},
            PoolConfig(("10.1.0.0/16", "10.2.0.0/16"), 25),
            id="two pod CIDRs",
        ),
        pytest.param({"cluster-pool-ipv4-mask-size": "x"}, PoolConfig((), None), id="mask size is not a number"),
    ],
)
def test_the_ipam_settings_in_the_cilium_configuration(data: dict[str, str] | None, expected: PoolConfig) -> None:
    assert facts.config({"metadata": {"resourceVersion": "7"}, "data": data}) == (expected, "7")


def test_a_record_is_parsed_as_it_was_written() -> None:
    record = a_record(pod_cidrs=["10.1.0.0/16", "10.2.0.0/16"], revision=7)

    assert facts.record({"data": facts.record_data(record)}) == record


@pytest.mark.parametrize(
    "edit",
    [{"maskSize": "x"}, {"revision": ""}, {"initialVersion": None}, {"initialVersion": "foo"}],
    ids=["mask size is not a number", "empty revision", "no version", "invalid version"],
)
def test_an_invalid_record_is_ignored(edit: dict[str, str | None]) -> None:
    data = facts.record_data(a_record()) | edit

    assert facts.record({"data": {key: value for key, value in data.items() if value is not None}}) is None
    assert facts.record({}) is None


def test_an_object_with_a_deletion_timestamp_is_terminating() -> None:
    assert facts.terminating({"metadata": {"deletionTimestamp": SINCE}})
    assert not facts.terminating({"metadata": {}})
