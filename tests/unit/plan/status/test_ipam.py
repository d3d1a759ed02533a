from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_cilium_node, a_node, a_raw_spec, a_record, a_revision, an_observation, blocks
from cilium_hybrid.api.status import Ipam, NodeBlocks
from cilium_hybrid.plan.observation import Observation, PoolConfig
from cilium_hybrid.plan.status.ipam import IpamUsage, evaluate_ipam
from cilium_hybrid.rules.cluster import Taken

TWO_BLOCKS = "10.85.0.0/24"


def a_pool(
    *pools: str,
    mask: int | None = 25,
    has_finalizer: Mapping[str, Iterable[str]] | None = None,
    nodes: Iterable[str] = (),
    taken: Iterable[Taken] = (),
) -> Observation:
    return an_observation(
        pool=PoolConfig(pools, mask),
        nodes=[a_node(name) for name in nodes],
        cilium_nodes=[a_cilium_node(name, pod_cidrs=cidrs) for name, cidrs in (has_finalizer or {}).items()],
        taken=taken,
    )


def judged(observation: Observation, spec: Mapping[str, Any] | None = None) -> IpamUsage:
    pools = () if observation.pool is None else observation.pool.pod_cidrs
    verdict = evaluate_ipam(observation, a_raw_spec(pod_cidrs=pools) if spec is None else spec)
    assert verdict is not None
    return verdict


def has_finalizer(*cidrs: str) -> dict[str, list[str]]:
    return {f"mi-{number}": [cidr] for number, cidr in enumerate(cidrs, 1)}


@pytest.mark.parametrize(
    ("observation", "blocks_of_nodes", "pods", "exhausted"),
    [
        pytest.param(a_pool("10.85.0.0/16"), (512, 0, 512), 124, (), id="nothing is given yet"),
        pytest.param(
            a_pool("10.85.0.0/16", has_finalizer=has_finalizer("10.85.0.0/25", "10.85.0.128/25")),
            (512, 2, 510),
            124,
            (),
            id="two are",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, "10.86.0.0/24", has_finalizer=has_finalizer("10.85.0.0/25", "10.85.0.128/25")),
            (4, 2, 2),
            124,
            (TWO_BLOCKS,),
            id="the first of two pools is full",
        ),
        pytest.param(a_pool("10.85.0.0/24", mask=29), (32, 0, 32), 4, (), id="the smallest block"),
        pytest.param(a_pool("10.85.0.0/24", mask=31), (128, 0, 128), 0, (), id="a block too small for a pod"),
        pytest.param(
            a_pool("10.85.0.0/26", has_finalizer=has_finalizer("10.85.0.0/26")),
            (0, 0, 0),
            124,
            ("10.85.0.0/26",),
            id="too small a pool",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=has_finalizer("10.85.0.0/23")),
            (2, 2, 0),
            124,
            (TWO_BLOCKS,),
            id="a block over the pool",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=has_finalizer("10.85.0.0/27", "10.85.0.32/27")),
            (2, 1, 1),
            124,
            (),
            id="parts of one block",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=has_finalizer("10.9.0.0/25")),
            (2, 0, 2),
            124,
            (),
            id="a block of elsewhere",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, has_finalizer=has_finalizer("fd00::/104", "x")), (2, 0, 2), 124, (), id="what is no IPv4"
        ),
        pytest.param(a_pool("x", TWO_BLOCKS), (2, 0, 2), 124, (), id="a pool that is none"),
    ],
)
def test_blocks_are_counted(
    observation: Observation, blocks_of_nodes: tuple[int, int, int], pods: int, exhausted: tuple[str, ...]
) -> None:
    total, used, free = blocks_of_nodes

    assert judged(observation).ipam == Ipam(
        node_blocks=NodeBlocks(total=total, used=used, free=free), pods_per_node=pods, exhausted=exhausted
    )


@pytest.mark.parametrize(
    "observation",
    [
        pytest.param(an_observation(), id="nothing runs"),
        pytest.param(a_pool(mask=25), id="no pool"),
        pytest.param(a_pool(TWO_BLOCKS, mask=None), id="no mask"),
        pytest.param(a_pool(TWO_BLOCKS, mask=33), id="no mask that there is"),
        pytest.param(a_pool("x"), id="no pool that can be read"),
    ],
)
def test_what_is_not_known_is_not_judged(observation: Observation) -> None:
    assert evaluate_ipam(observation, a_raw_spec()) is None


def test_the_record_tells_the_pools_where_cilium_s_configuration_is_gone() -> None:
    verdict = judged(an_observation(a_revision(), record=a_record(pod_cidrs=[TWO_BLOCKS])))

    assert verdict.ipam.node_blocks.total == 2


SIXTEEN = "10.85.0.0/21"
FULL = has_finalizer("10.85.0.0/25", "10.85.0.128/25")


@pytest.mark.parametrize(
    ("observation", "forecast"),
    [
        pytest.param(
            a_pool(SIXTEEN, has_finalizer=has_finalizer(*list(blocks(SIXTEEN))[:14])), "", id="an eighth is left"
        ),
        pytest.param(
            a_pool(SIXTEEN, has_finalizer=has_finalizer(*list(blocks(SIXTEEN))[:15])),
            "1 of 16 blocks of pod addresses is left: append a CIDR to spec.ipam.podCIDRs, such as 10.85.8.0/21",
            id="less than a tenth is left",
        ),
        pytest.param(
            a_pool("10.85.0.0/20", has_finalizer=has_finalizer(*list(blocks("10.85.0.0/20"))[:30]), nodes=["mi-99"]),
            "2 of 32 blocks of pod addresses are left, and mi-99 has none: append a CIDR to spec.ipam.podCIDRs, such "
            "as 10.85.16.0/20",
            id="and a node waits for its own",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, nodes=["mi-1", "mi-2"]), "", id="as many are left as there are nodes without one"
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, nodes=["mi-1", "mi-2", "mi-3"]),
            "2 of 2 blocks of pod addresses are left, and mi-1, mi-2, mi-3 have none: append a CIDR to "
            "spec.ipam.podCIDRs, such as 10.85.1.0/24",
            id="fewer than there are nodes without one",
        ),
        pytest.param(
            a_pool(TWO_BLOCKS, nodes=["mi-1", "mi-2", "mi-3"], has_finalizer=FULL),
            "no block of pod addresses is left of 2, and mi-3 has none: append a CIDR to spec.ipam.podCIDRs, such as "
            "10.85.1.0/24",
            id="none is left",
        ),
    ],
)
def test_what_is_left_is_told_before_it_runs_out(observation: Observation, forecast: str) -> None:
    assert judged(observation).forecast == forecast


def test_what_was_appended_and_does_not_run_yet_is_named() -> None:
    spec = a_raw_spec(pod_cidrs=[TWO_BLOCKS, "10.86.0.0/16"])

    assert judged(a_pool(TWO_BLOCKS, has_finalizer=FULL), spec).forecast == (
        "no block of pod addresses is left of 2: spec.ipam.podCIDRs has 10.86.0.0/16, still to be released"
    )


def test_a_list_that_is_full_is_not_to_be_appended_to() -> None:
    pools = [f"10.{number}.0.0/25" for number in range(1, 16)]

    assert judged(a_pool(*pools, has_finalizer=has_finalizer(*pools))).forecast == (
        "no block of pod addresses is left of 15: spec.ipam.podCIDRs has room for 15 CIDRs and no more"
    )


@pytest.mark.parametrize("raw", [None, "x", {}, {"ipam": {"podCIDRs": "x"}}], ids=str)
def test_any_spec_will_do(raw: object) -> None:
    verdict = evaluate_ipam(a_pool(TWO_BLOCKS, has_finalizer=FULL), raw)

    assert verdict is not None
    assert verdict.forecast.endswith("such as 10.85.1.0/24")


SAME = "10.85.0.0/25 of CiliumNode mi-2 with 10.85.0.0/25 of mi-1"
HOLDS = "10.85.0.0/26 of CiliumNode mi-2 with 10.85.0.0/24 of mi-1, 10.85.0.128/25 of CiliumNode mi-3 with 10.85.0.0/24"


@pytest.mark.parametrize(
    ("cidrs", "found"),
    [
        pytest.param(has_finalizer("10.85.0.0/25", "10.85.0.128/25"), [], id="each has its own"),
        pytest.param(
            has_finalizer("10.85.0.0/25", "10.85.0.0/25"), [f"blocks overlap: {SAME}: "], id="two have the same"
        ),
        pytest.param(
            has_finalizer("10.85.0.0/24", "10.85.0.0/26", "10.85.0.128/25"),
            [f"blocks overlap: {HOLDS} of mi-1: "],
            id="one holds those of others",
        ),
        pytest.param({"mi-1": ["10.85.0.0/24", "10.85.0.0/25"]}, [], id="a node with itself"),
        pytest.param(
            has_finalizer("10.9.0.0/25"), ["outside of every pool: 10.9.0.0/25 of CiliumNode mi-1: "], id="outside"
        ),
        pytest.param(
            has_finalizer("10.84.0.0/15"),
            ["outside of every pool: 10.84.0.0/15 of CiliumNode mi-1: "],
            id="half outside",
        ),
        pytest.param(
            has_finalizer("10.9.0.0/25", "10.9.0.0/25"),
            [
                "outside of every pool: 10.9.0.0/25 of CiliumNode mi-1, 10.9.0.0/25 of CiliumNode mi-2: ",
                f"blocks overlap: {SAME.replace('85', '9')}: ",
            ],
            id="both",
        ),
    ],
)
def test_blocks_that_are_out_of_order_are_found(cidrs: dict[str, list[str]], found: list[str]) -> None:
    findings = judged(a_pool("10.85.0.0/16", has_finalizer=cidrs)).findings

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
        *map(str, pools), mask=mask, has_finalizer=has_finalizer(*map(str, cidrs)), nodes=map(str, names)
    ),
    st.lists(NETWORKS, min_size=1, max_size=3, unique=True),
    st.integers(20, 30),
    st.lists(NETWORKS, max_size=6),
    st.sets(st.integers(0, 9), max_size=4),
)


@given(CLUSTERS)
def test_used_and_free_make_the_whole(observation: Observation) -> None:
    ipam = judged(observation).ipam

    assert ipam.node_blocks.used + ipam.node_blocks.free == ipam.node_blocks.total
    assert min(ipam.node_blocks.used, ipam.node_blocks.free) >= 0
    assert observation.pool is not None
    assert set(ipam.exhausted) <= set(observation.pool.pod_cidrs)
    assert (set(ipam.exhausted) == set(observation.pool.pod_cidrs)) == (ipam.node_blocks.free == 0)


@given(CLUSTERS)
def test_what_is_said_is_the_same_in_whatever_order_it_is_seen(observation: Observation) -> None:
    assert observation.pool is not None
    turned = an_observation(
        pool=observation.pool,
        nodes=reversed(list(observation.nodes.values())),
        cilium_nodes=reversed(list(observation.cilium_nodes.values())),
    )

    assert judged(turned) == judged(observation)
