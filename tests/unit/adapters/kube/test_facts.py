from typing import Any

import pytest

from builders import NODE
from cilium_hybrid.adapters.kube import facts
from cilium_hybrid.plan.observation import (
    AGENT_TAINT,
    AgentSet,
    CiliumNode,
    CiliumOperator,
    HybridNode,
    PoolConfig,
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


def test_a_long_message_is_truncated() -> None:
    node = facts.hybrid_node(a_raw_node(conditions=[a_raw_ready("False", message="x" * 1000)]))

    assert node.message == "x" * 199 + "…"


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

    assert facts.cilium_operator(raw)[0] == CiliumOperator(2, 1, expected, expected, generation)
    assert facts.agent_set(raw) == AgentSet(None, expected, generation)


def test_a_deployment_without_numbers_has_one_replica_and_no_available_one() -> None:
    expected = CiliumOperator(1, 0, observed=True, current=False)

    assert facts.cilium_operator({"metadata": {}, "spec": {}}) == (expected, "")


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
    operator, _ = facts.cilium_operator({"metadata": {}, "spec": {}, "status": status})

    assert operator.current is current


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
        pytest.param({"cluster-pool-ipv4-mask-size": "²"}, PoolConfig((), None), id="mask size is no ASCII digit"),
        pytest.param({"cluster-pool-ipv4-mask-size": "9" * 5000}, PoolConfig((), None), id="mask size is too long"),
        pytest.param({"cluster-pool-ipv4-mask-size": "33"}, PoolConfig((), None), id="mask size is too large"),
    ],
)
def test_the_ipam_settings_in_the_cilium_configuration(data: dict[str, str] | None, expected: PoolConfig) -> None:
    assert facts.config({"metadata": {"resourceVersion": "7"}, "data": data}) == (expected, "7")


def test_an_object_with_a_deletion_timestamp_is_terminating() -> None:
    assert facts.terminating({"metadata": {"deletionTimestamp": SINCE}})
    assert not facts.terminating({"metadata": {}})


@pytest.mark.parametrize(("observed", "revision"), [(2, "4"), (1, "")], ids=["observed", "template not observed yet"])
def test_the_present_template_is_that_of_the_replica_set_with_the_revision_of_the_deployment(
    observed: int, revision: str
) -> None:
    def annotated(revision: str) -> dict[str, Any]:
        return {"generation": 2, "annotations": {"deployment.kubernetes.io/revision": revision}}

    deployment = {"metadata": annotated("4"), "spec": {}, "status": {"observedGeneration": observed}}
    replica_set = {"metadata": annotated("4") | {"labels": {"pod-template-hash": "5f7"}}}

    assert facts.cilium_operator(deployment)[1] == revision
    assert facts.template_revision(replica_set) == ("5f7", "4")


def test_the_identity_of_a_node() -> None:
    raw = a_raw_node()
    raw["metadata"]["uid"] = "u-1"
    raw["status"]["nodeInfo"] = {
        "bootID": "b-1",
        "kernelVersion": "6.8.0",
        "kubeletVersion": "v1.35.4",
        "containerRuntimeVersion": "containerd://2.1.4",
    }
    node = facts.hybrid_node(raw)

    assert (node.uid, node.boot_id, node.kernel, node.kubelet, node.runtime) == (
        "u-1",
        "b-1",
        "6.8.0",
        "v1.35.4",
        "containerd://2.1.4",
    )


HEARTBEAT_FIELDS: dict[str, Any] = {"f:status": {"f:conditions": {'k:{"type":"Ready"}': {"f:lastHeartbeatTime": {}}}}}


def a_write(at: str, owned: Any = HEARTBEAT_FIELDS, subresource: str = "status") -> dict[str, Any]:
    return {"manager": "kubelet", "subresource": subresource, "time": at, "fieldsV1": owned}


def a_node_with_heartbeat(heartbeat: str | None, *writes: Any) -> HybridNode:
    raw = a_raw_node(conditions=[a_raw_ready("True", lastHeartbeatTime=heartbeat)])
    raw["metadata"]["managedFields"] = list(writes)
    return facts.hybrid_node(raw)


AT, DAY_LATER = "2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z"


@pytest.mark.parametrize(
    ("heartbeat", "writes", "minutes"),
    [
        pytest.param(AT, [a_write("2026-03-01T12:00:59Z")], 0, id="below one minute"),
        pytest.param(AT, [a_write("2026-03-01T12:01:00Z")], 1, id="one minute behind"),
        pytest.param(DAY_LATER, [a_write(AT)], 1440, id="a day ahead"),
        pytest.param(AT, [], 0, id="no managed fields"),
        pytest.param(None, [a_write(DAY_LATER)], 0, id="no heartbeat"),
        pytest.param(AT, [a_write(DAY_LATER, {"f:metadata": {}}, ""), a_write(AT)], 0, id="a later write of a label"),
        pytest.param(AT, [a_write(DAY_LATER, {"f:status": {}}), a_write(AT)], 0, id="a later write of another status"),
        pytest.param(AT, [a_write("2026-03-01T11:00:00Z"), a_write(AT)], 0, id="the previous kubelet wrote it before"),
    ],
)
def test_the_clock_of_a_node_is_compared_with_that_of_the_api_server_at_its_heartbeat(
    heartbeat: str | None, writes: list[Any], minutes: int
) -> None:
    assert a_node_with_heartbeat(heartbeat, *writes).clock_skew == minutes


def test_the_clock_skew_of_a_node_does_not_flap() -> None:
    seen = [0]
    before = a_node_with_heartbeat(AT, a_write(AT))
    for second in ("12:02:00", "12:01:59", "12:02:00", "12:04:10", "12:00:10", "12:00:59"):
        before = facts.merge_node(before, a_node_with_heartbeat(AT, a_write(f"2026-03-01T{second}Z")))
        seen.append(before.clock_skew)

    assert seen == [0, 2, 2, 2, 4, 0, 0]
