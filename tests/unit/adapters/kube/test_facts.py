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


def a_raw_node(*, conditions: Any = (), taints: Any = None) -> dict[str, Any]:
    metadata = {"name": NODE, "creationTimestamp": CREATED}
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
            id="not Ready, in one line",
        ),
        pytest.param(
            a_raw_node(conditions=[a_raw_ready("Unknown", message=None)]),
            HybridNode(NODE, "Unknown"),
            id="Unknown",
        ),
        pytest.param(a_raw_node(), HybridNode(NODE, "False"), id="without a condition yet"),
        pytest.param(
            {"metadata": {"name": NODE, "creationTimestamp": CREATED}},
            HybridNode(NODE, "False"),
            id="without anything yet",
        ),
        pytest.param(
            a_raw_node(conditions=[a_raw_ready("True")], taints=[{"key": "x"}, {"key": AGENT_TAINT}]),
            HybridNode(NODE, "True", taints=("x", AGENT_TAINT)),
            id="with Cilium's taint",
        ),
    ],
)
def test_a_node(raw: dict[str, Any], expected: HybridNode) -> None:
    assert facts.hybrid_node(raw) == expected


def test_a_node_tells_its_kernel_and_its_ipv4_addresses() -> None:
    addresses = [("Hostname", "10.9.9.9"), ("InternalIP", "10.80.0.11"), ("InternalIP", "fd00::1"), ("ExternalIP", "x")]
    raw = a_raw_node()
    raw["status"] |= {
        "addresses": [{"type": kind, "address": address} for kind, address in addresses],
        "nodeInfo": {"kernelVersion": "5.4.0-1103-aws"},
    }
    node = facts.hybrid_node(raw)

    assert node.kernel == "5.4.0-1103-aws"
    assert list(map(str, node.addresses)) == [f"10.80.0.11, an address of node {NODE}"]
    assert facts.node_addresses(raw) == node.addresses


def test_services_tell_their_addresses() -> None:
    of_all = facts.service_cidrs(
        {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["172.20.0.0/16", "fd00::/108"]}}
    )
    metadata = {"namespace": "default", "name": "kubernetes"}
    of_one = facts.service_addresses({"metadata": metadata, "spec": {"clusterIPs": ["172.20.0.1"]}})

    assert list(map(str, of_all)) == ["172.20.0.0/16, the Services' network (ServiceCIDR kubernetes)"]
    assert list(map(str, of_one)) == ["172.20.0.1, the address of Service default/kubernetes"]
    assert facts.service_cidrs({"metadata": {"name": "x"}}) == facts.service_addresses({"metadata": metadata}) == ()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({"spec": {"nodeName": NODE}}, ForeignPod("kube-system/aws-node-x", NODE), id="on a node"),
        pytest.param({"spec": {}}, None, id="on none yet"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Failed"}}, None, id="ended"),
    ],
)
def test_a_pod_of_another_cni(raw: dict[str, Any], expected: ForeignPod | None) -> None:
    assert facts.foreign_pod({"metadata": {"namespace": "kube-system", "name": "aws-node-x"}} | raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({"spec": {"nodeName": NODE}}, NODE, id="on its node"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Pending"}}, NODE, id="it starts there"),
        pytest.param({"spec": {}}, "", id="not placed yet"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Failed"}}, None, id="it was evicted"),
    ],
)
def test_where_the_other_pods_of_cilium_are(raw: dict[str, Any], expected: str | None) -> None:
    named = {"name": "cilium-operator-x", "labels": {"app.kubernetes.io/name": "cilium-operator"}}
    pod = None if expected is None else CiliumPod("cilium-operator-x", expected, "Deployment cilium-operator")

    assert facts.cilium_pod({"metadata": named} | raw) == pod
    assert facts.cilium_pod({"metadata": named | {"deletionTimestamp": CREATED}} | raw) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({"conditions": [a_raw_ready("True")]}, "", id="it is Ready"),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "none"}]},
            "Unschedulable: none",
            id="it has no place",
        ),
        pytest.param({"conditions": [{"type": "PodScheduled", "status": "True"}]}, "", id="it has one"),
        pytest.param(
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]},
            "ErrImagePull: no such image",
            id="its image is missing",
        ),
        pytest.param(
            {"containerStatuses": [{"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 2}}}]},
            "CrashLoopBackOff: Error, exit code 2",
            id="it ended and runs again",
        ),
    ],
)
def test_why_another_pod_of_cilium_does_not_run(status: dict[str, Any], expected: str) -> None:
    named = {"name": "cilium-operator-x", "labels": {"app.kubernetes.io/name": "cilium-operator"}}
    pod = facts.cilium_pod({"metadata": named, "spec": {}, "status": status})

    assert pod is not None
    assert pod.failure_message == expected


def test_a_message_is_cut() -> None:
    node = facts.hybrid_node(a_raw_node(conditions=[a_raw_ready("False", message="x" * 1000)]))

    assert node.message == "x" * 199 + "…"


def a_raw_pod(status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "cilium-x", **metadata},
        "spec": {"nodeName": NODE},
        "status": status or {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def a_waiting_pod(scheduled: str | None, key: str = "metadata.name") -> dict[str, Any]:
    """A pod of a DaemonSet that is for a node, and not there."""
    term = {"matchFields": [{"key": key, "operator": "In", "values": [NODE]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    says = {"type": "PodScheduled", "status": scheduled, "reason": "Unschedulable", "message": "Too many pods"}
    return {
        "metadata": {"name": "cilium-x"},
        "spec": {"affinity": affinity},
        "status": {"phase": "Pending", "conditions": [says] if scheduled else []},
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
            id="with its digest",
        ),
        pytest.param(
            a_raw_pod(deletionTimestamp=SINCE),
            AgentPod("cilium-x", NODE, True, None, terminating=True),
            id="terminating",
        ),
        pytest.param(a_raw_pod({"phase": "Pending"}), AgentPod("cilium-x", NODE, False, None), id="starting"),
        pytest.param({"metadata": {"name": "cilium-x"}}, None, id="without a spec"),
        pytest.param({"metadata": {"name": "cilium-x"}, "spec": {"nodeName": ""}}, None, id="without a node"),
        pytest.param(a_waiting_pod("False"), UnplacedAgent(NODE, "Unschedulable: Too many pods"), id="no place for it"),
        pytest.param(a_waiting_pod(None), None, id="the scheduler has not looked"),
        pytest.param(a_waiting_pod("False", key="metadata.uid"), None, id="for no node by its name"),
    ],
)
def test_an_agent(raw: dict[str, Any], expected: AgentPod | UnplacedAgent | None) -> None:
    assert facts.agent_pod(raw) == expected


def placed(raw: dict[str, Any]) -> AgentPod:
    """An agent that is on its node."""
    pod = facts.agent_pod(raw)
    assert isinstance(pod, AgentPod)
    return pod


def test_an_agent_tells_what_it_waits_for_and_how_it_ended() -> None:
    crashed = waiting("CrashLoopBackOff", last="kernel too old")
    waits = placed(a_raw_pod({"containerStatuses": [crashed]}))
    runs_again = placed(a_raw_pod({"containerStatuses": [crashed | RUNS]}))
    well = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [crashed | RUNS]}
    is_well = placed(a_raw_pod(well))

    assert waits is not None
    assert runs_again is not None
    assert is_well is not None
    assert (waits.failure_message, waits.crash_message) == ("CrashLoopBackOff: kernel too old",) * 2
    assert (runs_again.failure_message, runs_again.crash_message) == ("", "CrashLoopBackOff: kernel too old")
    assert (is_well.failure_message, is_well.crash_message) == ("", "")


@pytest.mark.parametrize(
    ("generation", "observed", "expected"),
    [
        pytest.param(3, 3, True, id="its controller saw the newest"),
        pytest.param(3, 2, False, id="its controller is behind"),
        pytest.param(3, None, False, id="its controller has not looked yet"),
    ],
)
def test_a_workload_is_judged_once_its_controller_saw_it(generation: int, observed: int | None, expected: bool) -> None:
    numbers = {"availableReplicas": 1, "updatedReplicas": 2, "replicas": 2}
    status = numbers | ({} if observed is None else {"observedGeneration": observed})
    raw = {"metadata": {"generation": generation}, "spec": {"replicas": 2, "template": {}}, "status": status}

    assert facts.cilium_operator(raw) == CiliumOperator(2, 1, expected, expected, generation)
    assert facts.agent_set(raw) == AgentSet(None, expected, generation)


def test_a_deployment_without_numbers_has_one_replica_and_none_available() -> None:
    assert facts.cilium_operator({"metadata": {}, "spec": {}}) == CiliumOperator(1, 0, observed=True, current=False)


@pytest.mark.parametrize(
    ("status", "current"),
    [
        pytest.param({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}, True, id="one is enough"),
        pytest.param({"replicas": 2, "updatedReplicas": 2}, False, id="none is available"),
        pytest.param({"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}, False, id="old ones are left"),
    ],
)
def test_cilium_s_operator_is_current_once_no_old_replica_is_left(status: dict[str, Any], current: bool) -> None:
    assert facts.cilium_operator({"metadata": {}, "spec": {}, "status": status}).current is current


RUNS = {"state": {"running": {"startedAt": "2026-03-01T11:00:00Z"}}}


@pytest.mark.parametrize(
    ("containers", "started"),
    [
        pytest.param([RUNS], True, id="it runs"),
        pytest.param([RUNS, waiting("ContainerCreating")], False, id="one does not yet"),
        pytest.param([], False, id="none is there"),
    ],
)
def test_whether_an_agent_started(containers: list[Any], started: bool) -> None:
    pod = placed(a_raw_pod({"conditions": [], "containerStatuses": containers}))

    assert pod is not None
    assert pod.started is started
    assert pod.ready_since is None


def test_since_when_an_agent_is_ready() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T11:00:00Z"}
    pod = placed(a_raw_pod({"conditions": [ready]}))

    assert pod is not None
    assert pod.ready_since == EARLIER


def test_the_digest_of_the_agents_stands_in_their_template() -> None:
    template = {"metadata": {"annotations": {CONFIG_DIGEST: "sha256:1"}}}

    assert facts.agent_set({"metadata": {}, "spec": {"template": template}}).config_digest == "sha256:1"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({}, CiliumNode(NODE), id="just made"),
        pytest.param({"spec": {"ipam": {"podCIDRs": ["10.1.0.0/25"]}}}, CiliumNode(NODE, ("10.1.0.0/25",)), id="given"),
        pytest.param(
            {"spec": {}, "status": {"ipam": {"operator-status": {"error": "full"}}}},
            CiliumNode(NODE, (), "full"),
            id="refused",
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
            id="two pools",
        ),
        pytest.param({"cluster-pool-ipv4-mask-size": "x"}, PoolConfig((), None), id="a mask that is no number"),
    ],
)
def test_the_pools_in_ciliums_configuration(data: dict[str, str] | None, expected: PoolConfig) -> None:
    assert facts.config({"metadata": {"resourceVersion": "7"}, "data": data}) == (expected, "7")


def test_a_record_is_read_as_it_was_written() -> None:
    record = a_record(pod_cidrs=["10.1.0.0/16", "10.2.0.0/16"], revision=7)

    assert facts.record({"data": facts.record_data(record)}) == record


@pytest.mark.parametrize(
    "edit",
    [{"maskSize": "x"}, {"revision": ""}, {"initialVersion": None}, {"initialVersion": "foo"}],
    ids=["a mask that is no number", "no revision", "no version", "a version that is none"],
)
def test_a_record_that_somebody_broke_is_none(edit: dict[str, str | None]) -> None:
    data = facts.record_data(a_record()) | edit

    assert facts.record({"data": {key: value for key, value in data.items() if value is not None}}) is None
    assert facts.record({}) is None


def test_an_object_that_is_being_deleted_is_leaving() -> None:
    assert facts.terminating({"metadata": {"deletionTimestamp": SINCE}})
    assert not facts.terminating({"metadata": {}})
