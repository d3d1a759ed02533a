from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_cilium_node, a_lenient_spec, a_node, a_raw_spec, a_record, a_revision, an_observation, blocks
from cilium_hybrid.api.status import Ipam, NodeBlocks
from cilium_hybrid.plan.observation import Observation, PoolConfig
from cilium_hybrid.plan.status.ipam import IpamUsage, evaluate_ipam
from cilium_hybrid.rules.cluster import AddressRange
from cilium_hybrid.rules.lenient_spec import read_lenient_spec

TWO_BLOCKS = "10.85.0.0/24"


def a_pool(
    *pools: str,
    mask: int | None = 25,
    used: Mapping[str, Iterable[str]] | None = None,
    nodes: Iterable[str] = (),
    taken: Iterable[AddressRange] = (),
) -> Observation:
    return an_observation(
        pool=PoolConfig(pools, mask),
        nodes=[a_node(name) for name in nodes],
        cilium_nodes=[a_cilium_node(name, pod_cidrs=cidrs) for name, cidrs in (used or {}).items()],
        taken=taken,
    )


def evaluated(observation: Observation, spec: Mapping[str, Any] | None = None) -> IpamUsage:
    pools = () if observation.pool is None else observation.pool.pod_cidrs
    usage = evaluate_ipam(observation, read_lenient_spec(a_raw_spec(pod_cidrs=pools) if spec is None else spec))
    assert usage is not None
    return usage


def of_nodes(*cidrs: str) -> dict[str, list[str]]:
    return {f"mi-{number}": [cidr] for number, cidr in enumerate(cidrs, 1)}


@pytest.mark.parametrize(
    ("observation", "blocks_of_nodes", "pods", "exhausted"),
    [
        pytest.param(a_pool("10.85.0.0/16"), (512, 0, 512), 124, (), id="no block in use"),
        pytest.param(
            a_pool("10.85.0.0/16", used=of_nodes("10.85.0.0/25", "10.85.0.128/25")),
            (512, 2, 510),
            124,
            (),
            id="two blocks in use",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, "10.86.0.0/24", used=of_nodes("10.85.0.0/25", "10.85.0.128/25")),
            (4, 2, 2),
            124,
            (TWO_BLOCKS,),
            id="the first of two pools is full",
        ),
        pytest.param(a_pool("10.85.0.0/24", mask=29), (32, 0, 32), 4, (), id="the smallest block"),
        pytest.param(a_pool("10.85.0.0/24", mask=31), (128, 0, 128), 0, (), id="a block too small for a pod"),
        pytest.param(
            a_pool("10.85.0.0/26", used=of_nodes("10.85.0.0/26")),
            (0, 0, 0),
            124,
            ("10.85.0.0/26",),
            id="a pool smaller than a block",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=of_nodes("10.85.0.0/23")),
            (2, 2, 0),
            124,
            (TWO_BLOCKS,),
            id="a block larger than the pool",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=of_nodes("10.85.0.0/27", "10.85.0.32/27")),
            (2, 1, 1),
            124,
            (),
            id="two nodes share a block",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=of_nodes("10.9.0.0/25")),
            (2, 0, 2),
            124,
            (),
            id="a block outside the pool",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=of_nodes("fd00::/104", "x")), (2, 0, 2), 124, (), id="blocks that are not IPv4"
        ),
        pytest.param(a_pool("x", TWO_BLOCKS), (2, 0, 2), 124, (), id="a pool that cannot be parsed"),
    ],
)
def test_blocks_are_counted(
    observation: Observation, blocks_of_nodes: tuple[int, int, int], pods: int, exhausted: tuple[str, ...]
) -> None:
    total, used, free = blocks_of_nodes

    assert evaluated(observation).ipam == Ipam(
        node_blocks=NodeBlocks(total=total, used=used, free=free), pods_per_node=pods, exhausted=exhausted
    )


@pytest.mark.parametrize(
    "observation",
    [
        pytest.param(an_observation(), id="nothing installed"),
        pytest.param(a_pool(mask=25), id="no pool"),
        pytest.param(a_pool(TWO_BLOCKS, mask=None), id="no mask"),
        pytest.param(a_pool(TWO_BLOCKS, mask=33), id="an impossible mask"),
        pytest.param(a_pool("x"), id="no pool that can be parsed"),
    ],
)
def test_unknown_pools_are_not_evaluated(observation: Observation) -> None:
    assert evaluate_ipam(observation, a_lenient_spec()) is None


def test_the_record_has_the_pools_if_the_configuration_of_cilium_is_missing() -> None:
    usage = evaluated(an_observation(a_revision(), record=a_record(pod_cidrs=[TWO_BLOCKS])))

    assert usage.ipam.node_blocks.total == 2


SIXTEEN = "10.85.0.0/21"
FULL = of_nodes("10.85.0.0/25", "10.85.0.128/25")


@pytest.mark.parametrize(
    ("observation", "forecast"),
    [
        pytest.param(a_pool(SIXTEEN, used=of_nodes(*list(blocks(SIXTEEN))[:14])), "", id="an eighth is free"),
        pytest.param(
            a_pool(SIXTEEN, used=of_nodes(*list(blocks(SIXTEEN))[:15])),
            "1 of 16 node blocks is free; append a CIDR to spec.ipam.podCIDRs, such as 10.85.8.0/21",
            id="less than a tenth is free",
        ),
        pytest.param(
            a_pool("10.85.0.0/20", used=of_nodes(*list(blocks("10.85.0.0/20"))[:30]), nodes=["mi-99"]),
            "2 of 32 node blocks are free and mi-99 has no node block; append a CIDR to spec.ipam.podCIDRs, such as "
            "10.85.16.0/20",
            id="less than a tenth is free and a node waits",
        ),
        pytest.param(a_pool(TWO_BLOCKS, nodes=["mi-1", "mi-2"]), "", id="as many free blocks as nodes without one"),
        pytest.param(
            a_pool(TWO_BLOCKS, nodes=["mi-1", "mi-2", "mi-3"]),
            "2 of 2 node blocks are free and mi-1, mi-2, mi-3 have no node block; append a CIDR to "
            "spec.ipam.podCIDRs, such as 10.85.1.0/24",
            id="fewer free blocks than nodes without one",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, nodes=["mi-1", "mi-2", "mi-3"], used=FULL),
            "0 of 2 node blocks are free and mi-3 has no node block; append a CIDR to spec.ipam.podCIDRs, such as "
            "10.85.1.0/24",
            id="no free block",
        ),
    ],
)
def test_a_shortage_is_reported_before_the_pools_run_out(observation: Observation, forecast: str) -> None:
    assert evaluated(observation).forecast == forecast


def test_an_appended_cidr_that_is_not_deployed_yet_is_named() -> None:
    spec = a_raw_spec(pod_cidrs=[TWO_BLOCKS, "10.86.0.0/16"])

    assert evaluated(a_pool(TWO_BLOCKS, used=FULL), spec).forecast == (
        "0 of 2 node blocks are free; 10.86.0.0/16 in spec.ipam.podCIDRs is not deployed yet"
    )


def test_nothing_is_appended_to_a_list_that_is_full() -> None:
    pools = [f"10.{number}.0.0/25" for number in range(1, 16)]

    assert evaluated(a_pool(*pools, used=of_nodes(*pools))).forecast == (
        "0 of 15 node blocks are free; no CIDR can be appended, because spec.ipam.podCIDRs has its maximum of 15"
    )


@pytest.mark.parametrize("raw", [None, "x", {}, {"ipam": {"podCIDRs": "x"}}], ids=str)
def test_any_spec_is_accepted(raw: object) -> None:
    usage = evaluate_ipam(a_pool(TWO_BLOCKS, used=FULL), read_lenient_spec(raw))

    assert usage is not None
    assert usage.forecast.endswith("such as 10.85.1.0/24")


SAME = "10.85.0.0/25 of CiliumNode mi-2 with 10.85.0.0/25 of mi-1"
CONTAINS = (
    "10.85.0.0/26 of CiliumNode mi-2 with 10.85.0.0/24 of mi-1, 10.85.0.128/25 of CiliumNode mi-3 with 10.85.0.0/24"
)


@pytest.mark.parametrize(
    ("cidrs", "found"),
    [
        pytest.param(of_nodes("10.85.0.0/25", "10.85.0.128/25"), [], id="separate blocks"),
        pytest.param(
            of_nodes("10.85.0.0/25", "10.85.0.0/25"), [f"node blocks overlap: {SAME}; "], id="the same block twice"
        ),
        pytest.param(
            of_nodes("10.85.0.0/24", "10.85.0.0/26", "10.85.0.128/25"),
            [f"node blocks overlap: {CONTAINS} of mi-1; "],
            id="a block that contains others",
        ),
        pytest.param({"mi-1": ["10.85.0.0/24", "10.85.0.0/25"]}, [], id="overlapping blocks of one node"),
        pytest.param(
            of_nodes("10.9.0.0/25"),
            ["node blocks outside the pools: 10.9.0.0/25 of CiliumNode mi-1; "],
            id="a block outside the pools",
        ),
        pytest.param(
            of_nodes("10.84.0.0/15"),
            ["node blocks outside the pools: 10.84.0.0/15 of CiliumNode mi-1; "],
            id="a block partly outside the pools",
        ),
        pytest.param(
            of_nodes("10.9.0.0/25", "10.9.0.0/25"),
            [
                "node blocks outside the pools: 10.9.0.0/25 of CiliumNode mi-1, 10.9.0.0/25 of CiliumNode mi-2; ",
                f"node blocks overlap: {SAME.replace('85', '9')}; ",
            ],
            id="the same block twice, outside the pools",
        ),
    ],
)
def test_inconsistent_blocks_are_findings(cidrs: dict[str, list[str]], found: list[str]) -> None:
    findings = evaluated(a_pool("10.85.0.0/16", used=cidrs)).findings

    assert len(findings) == len(found)
    for finding, facts in zip(findings, found, strict=True):
        assert finding.startswith(f"{facts}drain ")


NETWORKS = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(int(IPv4Network("10.85.0.0/16")[0]), int(IPv4Network("10.86.0.0/16")[0])),
    st.integers(22, 28),
)
CLUSTERS = st.builds(
    lambda pools, mask, cidrs, names: a_pool(
        *map(str, pools), mask=mask, used=of_nodes(*map(str, cidrs)), nodes=map(str, names)
    ),
    st.lists(NETWORKS, min_size=1, max_size=3, unique=True),
    st.integers(20, 30),
    st.lists(NETWORKS, max_size=6),
    st.sets(st.integers(0, 9), max_size=4),
)


@given(CLUSTERS)
def test_used_and_free_blocks_add_up(observation: Observation) -> None:
    ipam = evaluated(observation).ipam

    assert ipam.node_blocks.used + ipam.node_blocks.free == ipam.node_blocks.total
    assert min(ipam.node_blocks.used, ipam.node_blocks.free) >= 0
    assert observation.pool is not None
    assert set(ipam.exhausted) <= set(observation.pool.pod_cidrs)
    assert (set(ipam.exhausted) == set(observation.pool.pod_cidrs)) == (ipam.node_blocks.free == 0)


@given(CLUSTERS)
def test_the_result_does_not_depend_on_the_order_of_nodes(observation: Observation) -> None:
    assert observation.pool is not None
    reversed_nodes = an_observation(
        pool=observation.pool,
        nodes=reversed(list(observation.nodes.values())),
        cilium_nodes=reversed(list(observation.cilium_nodes.values())),
    )

    assert evaluated(reversed_nodes) == evaluated(observation)
