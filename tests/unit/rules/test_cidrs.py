from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import POOL, a_lenient_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.cidrs import (
    ADDED_CIDR_RULES,
    cidrs_are_ipv4,
    cidrs_have_no_host_bits,
    pod_cidrs_are_in_remote_pod_networks,
    pod_cidrs_do_not_overlap,
    pod_cidrs_do_not_overlap_declared_networks,
    pod_cidrs_fit_a_node_block,
)
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Rule, all_violations
from strategies import small_networks

OTHER = "10.86.0.0/16"
FIRST, SECOND = "spec.ipam.podCIDRs[0]", "spec.ipam.podCIDRs[1]"
OVERLAP, INVALID = Reason.POD_CIDR_OVERLAP, Reason.INVALID_SPEC


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        pytest.param({}, [], id="no declared networks"),
        pytest.param({"nodeCIDRs": ["10.80.0.0/16"]}, [], id="nodes elsewhere"),
        pytest.param({"nodeCIDRs": ["10.84.0.0/16"]}, [], id="nodes in the adjacent network"),
        pytest.param({"nodeCIDRs": [POOL]}, [(OVERLAP, FIRST)], id="nodes in the same network"),
        pytest.param({"vpcCIDRs": ["10.85.255.0/24"]}, [(OVERLAP, FIRST)], id="the VPC inside a pod CIDR"),
        pytest.param(
            {"serviceCIDRs": ["10.84.0.0/14"]},
            [(OVERLAP, FIRST), (OVERLAP, SECOND)],
            id="Services contain both pod CIDRs",
        ),
        pytest.param(
            {"vpcCIDRs": ["10.85.0.0/24", "10.85.1.0/24"], "nodeCIDRs": ["10.85.2.0/24"]},
            [(OVERLAP, FIRST)] * 3,
            id="every overlap is reported",
        ),
        pytest.param({"nodeCIDRs": ["nonsense"]}, [], id="an invalid CIDR is reported by another rule"),
        pytest.param({"nodeCIDRs": ["10.85.0.1/24"]}, [(OVERLAP, FIRST)], id="an overlap despite host bits"),
        pytest.param({"remotePodCIDRs": [POOL, OTHER]}, [], id="remote pod networks equal the pod CIDRs"),
        pytest.param({"remotePodCIDRs": ["10.80.0.0/12"]}, [], id="one remote pod network contains both"),
        pytest.param({"remotePodCIDRs": [POOL]}, [(INVALID, SECOND)], id="one pod CIDR outside"),
        pytest.param(
            {"remotePodCIDRs": ["10.85.0.0/17", "10.85.128.0/17", OTHER]},
            [(INVALID, FIRST)],
            id="a pod CIDR across two",
        ),
        pytest.param({"remotePodCIDRs": ["nonsense"]}, [], id="no valid remote pod network"),
        pytest.param(
            {"nodeCIDRs": [OTHER], "remotePodCIDRs": ["10.1.0.0/16"]},
            [(OVERLAP, SECOND), (INVALID, FIRST), (INVALID, SECOND)],
            id="overlaps before remote pod networks",
        ),
    ],
)
def test_declared_networks(networks: dict[str, list[str]], expected: list[tuple[Reason, str]]) -> None:
    spec = a_lenient_spec(pod_cidrs=[POOL, OTHER], networks=networks)

    assert [(broken.reason, broken.path) for broken in all_violations(ADDED_CIDR_RULES, spec)] == expected


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        pytest.param(
            {"vpcCIDRs": ["10.1.0.0/16", "10.85.3.0/24"]},
            f"{FIRST}: {POOL} overlaps VPC CIDR 10.85.3.0/24 (spec.networks.vpcCIDRs[1]); use a CIDR outside 10.85.",
            id="an overlap",
        ),
        pytest.param(
            {"remotePodCIDRs": ["10.1.0.0/16"]},
            f"{FIRST}: {POOL} is not inside spec.networks.remotePodCIDRs (10.1.0.0/16); use a CIDR inside them",
            id="outside the only one",
        ),
        pytest.param(
            {"remotePodCIDRs": ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"]},
            f"{FIRST}: {POOL} is not inside spec.networks.remotePodCIDRs (10.1.0.0/16, 10.2.0.0/16 and 2 more); use",
            id="outside many",
        ),
    ],
)
def test_the_message_names_both_networks(networks: dict[str, list[str]], words: str) -> None:
    (broken,) = all_violations(ADDED_CIDR_RULES, a_lenient_spec(networks=networks))

    assert str(broken).startswith(words)


@pytest.mark.parametrize("field", ["nodeCIDRs", "vpcCIDRs", "serviceCIDRs", "remotePodCIDRs"])
def test_declared_networks_are_ipv4_cidrs_without_host_bits(field: str) -> None:
    spec = a_lenient_spec(networks={field: ["8.8.0.0/16", "fd00::/64", "10.1.0.1/16"]})

    assert [broken.path for broken in cidrs_are_ipv4(spec)] == [f"spec.networks.{field}[1]"]
    assert [broken.path for broken in cidrs_have_no_host_bits(spec)] == [f"spec.networks.{field}[2]"]


def test_the_number_of_violations_is_limited() -> None:
    many = [POOL] * 10_000
    spec = a_lenient_spec(pod_cidrs=many, networks={"vpcCIDRs": many, "remotePodCIDRs": many})

    assert len(list(pod_cidrs_do_not_overlap(spec))) < 100
    assert len(list(pod_cidrs_do_not_overlap_declared_networks(spec))) < 100 * 100


def addresses(network: IPv4Network) -> set[IPv4Address]:
    return set(network)


def paths(rule: Rule[LenientSpec], pools: Iterable[IPv4Network], **more: Any) -> list[str]:
    return [broken.path for broken in rule(a_lenient_spec(pod_cidrs=map(str, pools), **more))]


def path(index: int) -> str:
    return f"spec.ipam.podCIDRs[{index}]"


POOLS = st.lists(small_networks(), min_size=1, max_size=6)
NETWORKS = st.lists(small_networks(), max_size=4)


@given(POOLS)
def test_a_pod_cidr_is_refused_exactly_if_it_shares_an_address_with_an_earlier_one(pools: list[IPv4Network]) -> None:
    shared = [
        path(later)
        for later in range(len(pools))
        if any(addresses(pools[later]) & addresses(earlier) for earlier in pools[:later])
    ]

    assert paths(pod_cidrs_do_not_overlap, pools) == shared


@given(POOLS, NETWORKS)
def test_a_pod_cidr_is_refused_once_for_each_declared_network_that_it_shares_an_address_with(
    pools: list[IPv4Network], declared: list[IPv4Network]
) -> None:
    shared = [
        path(index) for index, pool in enumerate(pools) for network in declared if addresses(pool) & addresses(network)
    ]

    networks = {"vpcCIDRs": list(map(str, declared))}
    assert paths(pod_cidrs_do_not_overlap_declared_networks, pools, networks=networks) == shared


@given(POOLS, NETWORKS)
def test_a_pod_cidr_is_refused_exactly_if_no_remote_pod_network_contains_all_its_addresses(
    pools: list[IPv4Network], remote: list[IPv4Network]
) -> None:
    outside = [
        path(index)
        for index, pool in enumerate(pools)
        if remote and not any(addresses(pool) <= addresses(network) for network in remote)
    ]

    networks = {"remotePodCIDRs": list(map(str, remote))}
    assert paths(pod_cidrs_are_in_remote_pod_networks, pools, networks=networks) == outside


def holds_a_block(pool: IPv4Network, mask: int) -> bool:
    size = 2 ** (32 - mask)
    starts = (int(address) for address in pool if int(address) % size == 0)
    return any({IPv4Address(start + offset) for offset in range(size)} <= addresses(pool) for start in starts)


@given(POOLS, st.integers(25, 32))
def test_a_pod_cidr_is_refused_exactly_if_no_node_block_fits_into_it(pools: list[IPv4Network], mask: int) -> None:
    too_small = [path(index) for index, pool in enumerate(pools) if not holds_a_block(pool, mask)]

    assert paths(pod_cidrs_fit_a_node_block, pools, mask_size=mask) == too_small
