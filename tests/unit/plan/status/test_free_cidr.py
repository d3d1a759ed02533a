from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_raw_spec, blocks
from cilium_hybrid.api.cel import PRIVATE
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.cluster import all_taken
from unit.plan.status.test_ipam import CLUSTERS, FULL, NETWORKS, TWO_BLOCKS, a_pool, has_finalizer, judged


def line_of(observation: Observation, **networks: Any) -> str:
    assert observation.pool is not None
    spec = a_raw_spec(pod_cidrs=observation.pool.pod_cidrs, networks=networks)
    return judged(observation, spec).forecast.rpartition(": ")[2]


@pytest.mark.parametrize(
    ("observation", "networks", "line"),
    [
        pytest.param(a_pool(TWO_BLOCKS, has_finalizer=FULL), {}, "such as 10.85.1.0/24", id="the next one"),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=FULL),
            {"nodeCIDRs": ["10.85.1.0/26"]},
            "such as 10.85.2.0/24",
            id="the nodes are there",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=FULL, taken=all_taken([("a Service", "10.85.1.9")])),
            {"vpcCIDRs": ["10.85.2.0/23"]},
            "such as 10.85.4.0/24",
            id="somebody has an address of it",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer={**FULL, "mi-3": ["10.85.1.128/25"]}),
            {},
            "such as 10.85.2.0/24",
            id="a node has a block of it",
        ),
        pytest.param(
            a_pool("10.80.0.0/29", mask=29, has_finalizer=has_finalizer("10.80.0.0/29"), nodes=["mi-1"]),
            {},
            "such as 10.80.0.16/29",
            id="a node has its address in it",
        ),
        pytest.param(
            a_pool("10.255.255.0/24", has_finalizer=has_finalizer("10.255.255.0/25", "10.255.255.128/25")),
            {},
            "such as 10.0.0.0/24",
            id="the private network ends there",
        ),
        pytest.param(
            a_pool("10.0.0.0/8", mask=16, has_finalizer=has_finalizer(*blocks("10.0.0.0/8", 16))),
            {},
            "such as 100.64.0.0/10",
            id="the private network is full, and the others are smaller",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=FULL),
            {"remotePodCIDRs": ["10.85.0.0/24", "100.64.0.0/16"]},
            "such as 100.64.0.0/24",
            id="the next remote pod network",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=FULL),
            {"remotePodCIDRs": ["10.85.0.0/24", "10.85.9.0/25"]},
            "such as 10.85.9.0/25",
            id="a remote pod network with less room",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=FULL),
            {"remotePodCIDRs": ["0.0.0.0/0"], "vpcCIDRs": ["10.0.0.0/8"]},
            "such as 172.16.0.0/24",
            id="a remote pod network that is more than private",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=FULL),
            {"remotePodCIDRs": [TWO_BLOCKS]},
            "add a network to the EKS cluster's remote pod networks and to that list, and append it to "
            "spec.ipam.podCIDRs",
            id="no room in the remote pod networks",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=FULL),
            {"vpcCIDRs": list(PRIVATE)},
            "append a CIDR to spec.ipam.podCIDRs",
            id="nothing that is known to be free",
        ),
    ],
)
def test_what_to_append_is_free(observation: Observation, networks: dict[str, Any], line: str) -> None:
    assert line_of(observation, **networks).endswith(line)


@given(CLUSTERS, st.lists(NETWORKS, max_size=4))
def test_what_is_suggested_touches_nothing_that_is_known(observation: Observation, declared: list[IPv4Network]) -> None:
    assert observation.pool is not None
    spec = a_raw_spec(pod_cidrs=observation.pool.pod_cidrs, networks={"nodeCIDRs": list(map(str, declared))})
    _, _, line = judged(observation, spec).forecast.partition("such as ")
    if line:
        found = IPv4Network(line)
        held_by_nodes = [IPv4Network(cidr) for node in observation.cilium_nodes.values() for cidr in node.pod_cidrs]
        for other in [*map(IPv4Network, observation.pool.pod_cidrs), *declared, *held_by_nodes]:
            assert not found.overlaps(other)
        assert any(found.subnet_of(IPv4Network(private)) for private in PRIVATE)
        assert found.prefixlen <= (observation.pool.mask_size or 0)
