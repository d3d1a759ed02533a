from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_raw_spec, blocks
from cilium_hybrid.api.cel import PRIVATE
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.cluster_facts import parse_address_ranges
from unit.plan.status.test_ipam import CLUSTERS, FULL, NETWORKS, TWO_BLOCKS, a_pool, evaluated, of_nodes


def fix_of(observation: Observation, **networks: Any) -> str:
    assert observation.pool is not None
    spec = a_raw_spec(pod_cidrs=observation.pool.pod_cidrs, networks=networks)
    return evaluated(observation, spec).forecast.rpartition("; ")[2]


@pytest.mark.parametrize(
    ("observation", "networks", "fix"),
    [
        pytest.param(a_pool(TWO_BLOCKS, used=FULL), {}, "such as 10.85.1.0/24", id="the next range"),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL),
            {"nodeCIDRs": ["10.85.1.0/26"]},
            "such as 10.85.2.0/24",
            id="a node network",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL, taken=parse_address_ranges([("a Service", "10.85.1.9")])),
            {"vpcCIDRs": ["10.85.2.0/23"]},
            "such as 10.85.4.0/24",
            id="an address in use",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used={**FULL, "mi-3": ["10.85.1.128/25"]}),
            {},
            "such as 10.85.2.0/24",
            id="a node block in it",
        ),
        pytest.param(
            a_pool("10.80.0.0/29", mask=29, used=of_nodes("10.80.0.0/29"), nodes=["mi-1"]),
            {},
            "such as 10.80.0.16/29",
            id="a node address in it",
        ),
        pytest.param(
            a_pool("10.255.255.0/24", used=of_nodes("10.255.255.0/25", "10.255.255.128/25")),
            {},
            "such as 10.0.0.0/24",
            id="the end of the private network",
        ),
        pytest.param(
            a_pool("10.0.0.0/8", mask=16, used=of_nodes(*blocks("10.0.0.0/8", 16))),
            {},
            "such as 100.64.0.0/10",
            id="a full private network, and smaller other ones",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL),
            {"remotePodCIDRs": ["10.85.0.0/24", "100.64.0.0/16"]},
            "such as 100.64.0.0/24",
            id="the next remote pod network",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL),
            {"remotePodCIDRs": ["10.85.0.0/24", "10.85.9.0/25"]},
            "such as 10.85.9.0/25",
            id="a smaller remote pod network",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL),
            {"remotePodCIDRs": ["0.0.0.0/0"], "vpcCIDRs": ["10.0.0.0/8"]},
            "such as 172.16.0.0/24",
            id="a remote pod network larger than the private ones",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL),
            {"remotePodCIDRs": [TWO_BLOCKS]},
            "add a network to the EKS cluster's remote pod networks and to spec.networks.remotePodCIDRs, and append it "
            "to spec.ipam.podCIDRs",
            id="full remote pod networks",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL),
            {"vpcCIDRs": list(PRIVATE)},
            "append a CIDR to spec.ipam.podCIDRs",
            id="no range known to be free",
        ),
    ],
)
def test_the_suggested_cidr_is_free(observation: Observation, networks: dict[str, Any], fix: str) -> None:
    assert fix_of(observation, **networks).endswith(fix)


@given(CLUSTERS, st.lists(NETWORKS, max_size=4))
def test_a_suggested_cidr_overlaps_nothing_known(observation: Observation, declared: list[IPv4Network]) -> None:
    assert observation.pool is not None
    spec = a_raw_spec(pod_cidrs=observation.pool.pod_cidrs, networks={"nodeCIDRs": list(map(str, declared))})
    _, _, suggested = evaluated(observation, spec).forecast.partition("such as ")
    if suggested:
        found = IPv4Network(suggested)
        node_blocks = [IPv4Network(cidr) for node in observation.cilium_nodes.values() for cidr in node.pod_cidrs]
        for other in [*map(IPv4Network, observation.pool.pod_cidrs), *declared, *node_blocks]:
            assert not found.overlaps(other)
        assert any(found.subnet_of(IPv4Network(private)) for private in PRIVATE)
        assert found.prefixlen <= (observation.pool.mask_size or 0)
