from collections.abc import Iterable, Mapping
from datetime import datetime
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    EARLIER,
    NOW,
    a_cilium_node,
    a_lenient_spec,
    a_node,
    a_raw_spec,
    a_record,
    a_revision,
    an_observation,
    blocks,
)
from cilium_hybrid.api.status import AppliedIpam, Ipam, NodeBlocks
from cilium_hybrid.plan.observation import Observation, PoolConfig
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.status.ipam import IpamUsage, evaluate_ipam
from cilium_hybrid.rules.cluster_facts import AddressRange
from cilium_hybrid.rules.lenient_spec import read_lenient_spec

TWO_BLOCKS = "10.85.0.0/24"


def a_pool(
    *pools: str,
    mask: int | None = 25,
    used: Mapping[str, Iterable[str]] | None = None,
    nodes: Iterable[str] = (),
    taken: Iterable[AddressRange] = (),
    without_node: Iterable[str] = (),
    cloud: Iterable[str] = (),
) -> Observation:
    """A pool; a CiliumNode in `used` has a node, as have `nodes`, unless it is in `without_node`."""
    names = [*nodes, *(name for name in used or {} if name not in {*nodes, *without_node})]
    return an_observation(
        pool=PoolConfig(pools, mask),
        nodes=[a_node(name) for name in names],
        cilium_nodes=[a_cilium_node(name, pod_cidrs=cidrs) for name, cidrs in (used or {}).items()],
        taken=taken,
        cloud_nodes=cloud,
    )


def evaluated(
    observation: Observation,
    spec: Mapping[str, Any] | None = None,
    absent: Mapping[str, datetime] | None = None,
    announced: Record | None = None,
) -> IpamUsage:
    pools = () if observation.pool is None else observation.pool.pod_cidrs
    read = read_lenient_spec(a_raw_spec(pod_cidrs=pools) if spec is None else spec)
    usage = evaluate_ipam(observation, read, NOW, absent=absent or {}, announced=announced)
    assert usage is not None
    return usage


def replace_applied(ipam: Ipam) -> Ipam:
    """The usage alone."""
    return ipam.model_copy(update={"applied": None})


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

    assert replace_applied(evaluated(observation).ipam) == Ipam(
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
    assert evaluate_ipam(observation, a_lenient_spec(), NOW) is None


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
    usage = evaluate_ipam(a_pool(TWO_BLOCKS, used=FULL), read_lenient_spec(raw), NOW)

    assert usage is not None
    assert usage.forecast.endswith("such as 10.85.1.0/24")


LATER = EARLIER.replace(minute=30)
LONG_AGO = EARLIER.replace(day=1, month=2)
AWAY_1 = "10.85.0.0/25 is held by mi-1, not seen since 11:00Z"
APPEND = "or append a CIDR to spec.ipam.podCIDRs, such as 10.85.1.0/24"


@pytest.mark.parametrize(
    ("observation", "absent", "forecast"),
    [
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL),
            {"mi-1": EARLIER},
            f"0 of 2 node blocks are free (1 can be recovered); {AWAY_1}; delete the node if it is gone; {APPEND}",
            id="a node that is away",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL, nodes=["mi-3"]),
            {"mi-1": EARLIER, "mi-3": EARLIER},
            f"0 of 2 node blocks are free (1 can be recovered) and mi-3 has no node block; {AWAY_1}; "
            f"delete the node if it is gone; {APPEND}",
            id="a node that is away without a block",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL),
            {"mi-1": LATER, "mi-2": LONG_AGO},
            "0 of 2 node blocks are free (2 can be recovered); 10.85.0.128/25 is held by mi-2, not seen since "
            "2026-02-01 11:00Z, 10.85.0.0/25 is held by mi-1, not seen since 11:30Z; delete those of these nodes that "
            f"are gone; {APPEND}",
            id="two nodes, the longest absent first",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL, without_node=["mi-1"]),
            {},
            "0 of 2 node blocks are free (1 can be recovered); 10.85.0.0/25 is held by CiliumNode mi-1, which has no "
            f"node; delete it; {APPEND}",
            id="a CiliumNode without a node",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used=FULL, without_node=["mi-1"], cloud=["mi-1"]),
            {},
            f"0 of 2 node blocks are free; {APPEND.removeprefix('or ')}",
            id="the block of a node that lost its label is in use",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used={**FULL, "mi-3": ["10.9.0.0/25"]}, without_node=["mi-3"]),
            {},
            f"0 of 2 node blocks are free; {APPEND.removeprefix('or ')}",
            id="a block outside the pools is no help",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, used={**FULL, "mi-3": ["10.85.0.0/25"]}, without_node=["mi-3"]),
            {},
            "0 of 2 node blocks are free; 10.85.0.0/25 is held by CiliumNode mi-3, which has no node; delete it; "
            f"{APPEND}",
            id="a block that another node has too",
        ),
        pytest.param(a_pool("10.85.0.0/16", used=FULL), {"mi-1": EARLIER}, "", id="enough blocks are free"),
    ],
)
def test_blocks_that_can_be_recovered_come_before_the_advice_to_append(
    observation: Observation, absent: dict[str, datetime], forecast: str
) -> None:
    assert evaluated(observation, absent=absent).forecast == forecast


def test_the_forecast_is_short_however_many_nodes_are_away() -> None:
    used = of_nodes(*blocks("10.85.0.0/16"))
    forecast = evaluated(a_pool("10.85.0.0/16", used=used), absent=dict.fromkeys(list(used)[:400], EARLIER)).forecast

    assert forecast.startswith(
        "0 of 512 node blocks are free (400 can be recovered); 10.85.0.0/25 is held by mi-1, not"
    )
    assert "and 399 more; delete those of these nodes that are gone; or append" in forecast
    assert len(forecast) < 300


def test_the_pools_that_run_are_reported_as_applied_in_canonical_form() -> None:
    observation = a_pool("10.85.0.1/16", "x", used={"mi-1": ["10.86.0.0/25"]})
    spec = a_raw_spec(pod_cidrs=["10.85.0.0/16", "10.86.0.0/16", "10.87.0.0/16"])

    assert evaluated(observation, spec).ipam.applied == AppliedIpam(
        pod_cidrs=("10.85.0.0/16", "10.86.0.0/16"), mask_size=25
    )


def test_pools_that_are_about_to_be_applied_are_reported_as_applied() -> None:
    announced = a_record(pod_cidrs=["10.85.0.0/24", "10.86.0.0/16"], mask_size=25)
    expected = AppliedIpam(pod_cidrs=("10.85.0.0/24", "10.86.0.0/16"), mask_size=25)
    appended = evaluated(a_pool(TWO_BLOCKS, used=FULL), announced=announced)
    first = evaluated(an_observation(), announced=announced)

    assert (appended.ipam.applied, first.ipam.applied) == (expected, expected)
    assert appended.ipam.node_blocks.total == 2
    assert first.ipam.node_blocks.total == 2 + 512


def test_no_more_pools_are_reported_than_the_status_may_hold() -> None:
    """The API server refuses a status that violates the schema."""
    pools = [f"10.{number}.0.0/25" for number in range(1, 20)]
    applied = evaluated(a_pool(*pools)).ipam.applied

    assert applied is not None
    assert list(applied.pod_cidrs) == pools[:15]


def test_advice_is_only_given_on_the_operators_release() -> None:
    observation = a_pool(TWO_BLOCKS, used={**FULL, "mi-3": ["10.85.0.0/25"]}, without_node=["mi-3"])
    usage = evaluate_ipam(observation, a_lenient_spec(), NOW, advise=False)

    assert usage is not None
    assert usage.ipam.node_blocks.used == 2
    assert (usage.forecast, usage.findings) == ("", ())


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
