from collections.abc import Mapping

import pytest

from builders import MASK, POOL, VERSION, a_lenient_spec, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.fields import MAX_MASK_SIZE, MIN_MASK_SIZE
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.cidrs import pods_per_node
from cilium_hybrid.rules.cluster import CLUSTER_WARNINGS, validate_in_cluster, validate_offline
from cilium_hybrid.rules.cluster_facts import AddressRange, ClusterFacts, ClusterRuleInput
from cilium_hybrid.rules.rule import all_violations

BEFORE_THE_INSTALL = Running()


def warnings(
    mask: object, running: Running = BEFORE_THE_INSTALL, max_pods: Mapping[str, int] | None = None
) -> list[str]:
    spec = a_lenient_spec(pod_cidrs=["10.0.0.0/8"], mask_size=mask)
    result = all_violations(CLUSTER_WARNINGS, ClusterRuleInput(spec, running, ClusterFacts(max_pods=max_pods or {})))
    assert all(warning.reason is Reason.INVALID_SPEC for warning in result)
    return [str(warning) for warning in result]


@pytest.mark.parametrize("mask", [16, 24, 25])
def test_a_node_block_with_room_for_the_default_max_pods(mask: int) -> None:
    assert warnings(mask) == []


@pytest.mark.parametrize(("mask", "room"), [(26, 60), (27, 28), (28, 12), (29, 4)])
def test_a_node_block_without_room_for_the_default_max_pods(mask: int, room: int) -> None:
    (warning,) = warnings(mask)

    assert warning == (
        f"spec.ipam.maskSize: /{mask} leaves {room} pod addresses on a node, fewer than the default maxPods (110); "
        f"use 25 or less, or set maxPods of the kubelet to {room} or less"
    )


@pytest.mark.parametrize(
    ("mask", "max_pods", "nodes"),
    [
        pytest.param(25, {"a": 110}, None, id="room for all pods"),
        pytest.param(25, {"a": 124}, None, id="exactly enough room"),
        pytest.param(25, {"a": 125}, "a (125); use 24 or less, or", id="one address too few"),
        pytest.param(26, {"a": 60}, None, id="fewer pods than the default"),
        pytest.param(26, {"a": 60, "b": 110}, "b (110); use 25 or less, or", id="one of two nodes"),
        pytest.param(26, {"b": 250, "a": 110}, "a (110), b (250); use 24 or less, or", id="different kubelets"),
        pytest.param(26, dict.fromkeys("edcba", 110), "a (110), b (110) and 3 more; use", id="many nodes"),
        pytest.param(16, {"a": 100_000}, "a (100000); set maxPods", id="no mask is short enough"),
    ],
)
def test_the_max_pods_of_the_nodes_replace_the_default(mask: int, max_pods: dict[str, int], nodes: str | None) -> None:
    found = warnings(mask, max_pods=max_pods)

    assert len(found) == (nodes is not None)
    if nodes is not None:
        assert f"fewer than the maxPods of the kubelet on {nodes}" in found[0]


def test_an_installed_mask_size_cannot_be_the_fix() -> None:
    (warning,) = warnings(26, Running(VERSION, ("10.0.0.0/8",), 26), {"a": 110})

    assert warning.endswith("on a (110); set maxPods of the kubelet to 60 or less")


@pytest.mark.parametrize("mask", [None, "26", 15, 30, -1, 400])
def test_a_mask_size_that_the_schema_refuses_has_no_warning(mask: object) -> None:
    assert warnings(mask) == []


def test_a_changed_mask_size_is_refused_without_a_warning() -> None:
    assert warnings(29, Running(VERSION, ("10.0.0.0/8",), MASK)) == []


@pytest.mark.parametrize("mask", range(MIN_MASK_SIZE, MAX_MASK_SIZE + 1))
def test_pods_per_node_is_the_size_of_a_block_without_the_reserved_addresses(mask: int) -> None:
    assert pods_per_node(mask) == 2 ** (32 - mask) - 4


@pytest.mark.parametrize(
    ("pod_cidrs", "nodes", "expected"),
    [
        pytest.param([POOL], 512, [], id="a block for each node"),
        pytest.param(["10.85.0.0/24"], 2, [], id="exactly as many blocks as nodes"),
        pytest.param(["10.85.0.0/24"], 3, ["2 node blocks of /25 for 3 hybrid nodes"], id="one block too few"),
        pytest.param(["10.85.0.0/24", "10.86.0.0/25"], 3, [], id="the blocks of all CIDRs count"),
        pytest.param(["10.85.0.0/26"], 1, ["0 node blocks of /25 for 1 hybrid node"], id="smaller than a block"),
        pytest.param(["x"], 3, [], id="no usable CIDR"),
    ],
)
def test_fewer_node_blocks_than_hybrid_nodes_are_reported_before_the_install(
    pod_cidrs: list[str], nodes: int, expected: list[str]
) -> None:
    spec = a_lenient_spec(pod_cidrs=pod_cidrs)
    facts = ClusterFacts(kernels={f"mi-{number}": "6.8.0" for number in range(nodes)})
    found = all_violations(CLUSTER_WARNINGS, ClusterRuleInput(spec, BEFORE_THE_INSTALL, facts))

    assert [violation.message for violation in found if violation.path == "spec.ipam.podCIDRs"] == expected
    assert all_violations(CLUSTER_WARNINGS, ClusterRuleInput(spec, Running(None, (POOL,), 25), facts)) == ()


def test_offline_validation_assumes_the_default_max_pods_and_only_warns() -> None:
    result = validate_offline(a_raw_spec(ipam={"podCIDRs": [POOL], "maskSize": 26}))

    assert result.refusals == ()
    assert [warning.path for warning in result.warnings] == ["spec.ipam.maskSize"]
    assert "default maxPods (110)" in result.warnings[0].message


def test_validation_in_a_cluster_only_warns() -> None:
    spec = a_lenient_spec(mask_size=26)
    result = validate_in_cluster(ClusterRuleInput(spec, BEFORE_THE_INSTALL, ClusterFacts(max_pods={"mi-1": 110})))

    assert result.refusals == ()
    assert [warning.path for warning in result.warnings] == ["spec.ipam.maskSize"]


@pytest.mark.parametrize(
    ("text", "cidr", "length"),
    [("10.85.0.0/25", "10.85.0.0/25", 25), ("10.85.0.9", "10.85.0.9", 32), ("10.85.0.9/16", "10.85.0.0/16", 16)],
)
def test_an_address_range(text: str, cidr: str, length: int) -> None:
    found = AddressRange.parse("a node", text)

    assert found is not None
    assert (found.cidr, found.prefix_length, str(found)) == (cidr, length, f"{cidr}, a node")


@pytest.mark.parametrize("text", ["", "x", "fd00::1", "10.85.0.0/33"])
def test_only_ipv4_is_an_address_range(text: str) -> None:
    assert AddressRange.parse("a node", text) is None
