from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import (
    MASK,
    NODE,
    POOL,
    a_cilium_node,
    a_foreign_revision,
    a_lenient_spec,
    a_node,
    a_raw_spec,
    a_revision,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.observation import (
    CILIUM,
    AgentSet,
    ForeignObject,
    ForeignPod,
    Lookups,
    Observation,
    PoolConfig,
    ReleasePayload,
)
from cilium_hybrid.plan.validate import LookupRequest, lookup_request, validate
from cilium_hybrid.rules.cluster_facts import AddressRange, parse_address_ranges
from cilium_hybrid.rules.lenient_spec import read_lenient_spec
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.spec import ValidationResult

RUNS = PoolConfig((POOL,), MASK)
SERVICE = parse_address_ranges([("the Service network", "10.85.0.0/20")])
OTHER = "10.86.0.0/16"


def networks(*texts: str) -> tuple[tuple[int, int], ...]:
    ranges = [AddressRange.parse("", text) for text in texts]
    return tuple((found.first, found.last) for found in ranges if found is not None)


@pytest.mark.parametrize(
    ("spec", "observation", "expected"),
    [
        pytest.param({}, an_observation(), LookupRequest(networks(POOL)), id="a first install"),
        pytest.param({}, an_observation(a_revision(), pool=RUNS), None, id="nothing to look up"),
        pytest.param(
            {"pod_cidrs": [POOL, OTHER]},
            an_observation(a_revision(), pool=RUNS),
            LookupRequest(networks(OTHER)),
            id="an appended CIDR",
        ),
        pytest.param({"pod_cidrs": ["nonsense"]}, an_observation(a_revision(), pool=RUNS), None, id="an invalid CIDR"),
        pytest.param(
            {"version": "1.19.4-1"},
            an_observation(a_revision(), pool=RUNS),
            LookupRequest(peering_policies=True),
            id="an upgrade to a version without peering policies",
        ),
        pytest.param(
            {"version": "1.19.4-1"},
            an_observation(a_revision(version="1.19.4-1"), pool=RUNS),
            None,
            id="that version runs already",
        ),
        pytest.param({"version": None}, an_observation(a_revision(), pool=RUNS), None, id="no version"),
        pytest.param(
            {"pod_cidrs": ["10.85.0.1/16"]}, an_observation(a_revision(), pool=RUNS), None, id="in another notation"
        ),
        pytest.param(
            {},
            an_observation(a_foreign_revision(3)),
            LookupRequest(networks(POOL)),
            id="a foreign release",
        ),
    ],
)
def test_lookup_request(spec: dict[str, Any], observation: Observation, expected: LookupRequest | None) -> None:
    assert lookup_request(a_lenient_spec(**spec), observation) == expected


def validated(
    observation: Observation,
    lookups: Lookups | None = None,
    registries: Sequence[str] = (),
    *,
    managed: bool = True,
    **spec: Any,
) -> ValidationResult:
    raw = a_raw_spec(**spec)
    return validate(raw, read_lenient_spec(raw), observation, lookups, registries, managed=managed)


def refusals(observation: Observation, lookups: Lookups | None = None, **spec: Any) -> list[tuple[Reason, str]]:
    return _named(validated(observation, lookups, **spec).refusals)


def _named(violations: tuple[Violation, ...]) -> list[tuple[Reason, str]]:
    return [(violation.reason, violation.path) for violation in violations]


FIRST = (Reason.POD_CIDR_OVERLAP, "spec.ipam.podCIDRs[0]")


@pytest.mark.parametrize(
    ("observation", "lookups", "expected"),
    [
        pytest.param(an_observation(), None, [], id="an empty cluster"),
        pytest.param(an_observation(nodes=[a_node()]), None, [], id="a node outside the pool"),
        pytest.param(an_observation(nodes=[a_node(address="10.85.7.7")]), None, [FIRST], id="a hybrid node's address"),
        pytest.param(an_observation(taken=SERVICE), None, [FIRST], id="a Service network"),
        pytest.param(
            an_observation(), Lookups(parse_address_ranges([("pod", "10.85.1.1")])), [FIRST], id="a pod on a cloud node"
        ),
        pytest.param(
            an_observation(a_revision(), pool=RUNS, taken=SERVICE, nodes=[a_node(address="10.85.7.7")]),
            None,
            [],
            id="an overlap with a pool that runs",
        ),
        pytest.param(
            an_observation(nodes=[a_node()], foreign_pods=[ForeignPod("kube-system/aws-node-x", NODE)]),
            None,
            [(Reason.FOREIGN_CNI, "spec")],
            id="another CNI on a hybrid node",
        ),
        pytest.param(
            an_observation(nodes=[a_node()], foreign_pods=[ForeignPod("kube-system/aws-node-x", "cloud")]),
            None,
            [],
            id="another CNI on a cloud node",
        ),
        pytest.param(
            an_observation(cilium_nodes=[a_cilium_node(pod_cidrs=["10.85.0.0/24"])]),
            None,
            [(Reason.MASK_CHANGED, "spec.ipam.maskSize")],
            id="node blocks of another size",
        ),
        pytest.param(
            replace(an_observation(a_revision()), payloads={1: ReleasePayload(pool=PoolConfig((POOL,), 26))}),
            None,
            [(Reason.MASK_CHANGED, "spec.ipam.maskSize")],
            id="another mask size in the values of the revision",
        ),
    ],
)
def test_refusals_that_depend_on_the_cluster(
    observation: Observation, lookups: Lookups | None, expected: list[tuple[Reason, str]]
) -> None:
    assert refusals(observation, lookups) == expected


def test_an_overlap_is_a_warning_for_a_running_pool_and_refused_for_an_added_one() -> None:
    observation = an_observation(a_revision(), pool=RUNS, taken=parse_address_ranges([("the VPC", "10.84.0.0/14")]))
    result = validated(observation, pod_cidrs=[POOL, OTHER])

    assert _named(result.refusals) == [(Reason.POD_CIDR_OVERLAP, "spec.ipam.podCIDRs[1]")]
    assert _named(result.warnings) == [FIRST]


def test_an_old_kernel_blocks_an_upgrade_but_not_the_running_version() -> None:
    old = a_node(kernel="4.18.0-553.el8_10.x86_64")
    run = an_observation(a_revision(version="1.18.8-1"), pool=RUNS, nodes=[old])

    assert refusals(an_observation(nodes=[old]), version="1.18.8-1") == [(Reason.KERNEL_TOO_OLD, "spec.version")]
    assert refusals(an_observation(nodes=[old]), version="1.17.9-0") == []
    assert refusals(run, version="1.18.8-1") == []


def test_peering_policies_block_the_version_that_removed_them() -> None:
    lookups = Lookups(peering_policies=("rack-1",))

    assert refusals(an_observation(), lookups, version="1.19.4-1") == [(Reason.VERSION_UNSUPPORTED, "spec.version")]
    assert refusals(an_observation(), lookups, version="1.18.8-1") == []


def test_a_foreign_release_does_not_restrict_the_spec() -> None:
    observation = an_observation(a_foreign_revision(), pool=PoolConfig(("10.1.0.0/16",), 26))

    assert validated(observation, managed=False).refusals == ()


def test_no_advice_on_ciliumnodes_is_given_for_a_release_of_somebody_else() -> None:
    stray = a_cilium_node(pod_cidrs=["10.1.0.0/24"])
    ours, foreign = an_observation(cilium_nodes=[stray]), an_observation(a_foreign_revision(), cilium_nodes=[stray])

    assert "delete the CiliumNodes" in str(validated(ours).refusals)
    assert validated(foreign, managed=False).refusals == ()


@pytest.mark.parametrize(
    ("observation", "title"),
    [
        pytest.param(
            an_observation(agent_set=AgentSet(None, observed=True)),
            "DaemonSet kube-system/cilium, without a Helm release",
            id="without a release",
        ),
        pytest.param(
            replace(an_observation(), foreign_objects=(ForeignObject("DaemonSet cni/cilium", CILIUM),)),
            "DaemonSet cni/cilium",
            id="in another namespace",
        ),
    ],
)
def test_a_cilium_of_somebody_else_says_nothing_about_the_spec_but_is_named(
    observation: Observation, title: str
) -> None:
    stray = a_cilium_node(pod_cidrs=["10.1.0.0/24"])
    theirs = replace(observation, pool=PoolConfig(("10.1.0.0/16",), 24), cilium_nodes={NODE: stray})
    (refusal,) = validated(theirs).refusals

    assert (refusal.reason, refusal.path) == (Reason.RELEASE_NOT_OWNED, "spec")
    assert title in refusal.message


def test_the_operators_own_release_keeps_its_pools_if_another_cilium_appears() -> None:
    observation = replace(
        an_observation(a_revision(), pool=RUNS), foreign_objects=(ForeignObject("DaemonSet cni/cilium", CILIUM),)
    )
    refused = {violation.reason for violation in validated(observation, mask_size=26).refusals}

    assert refused == {Reason.MASK_CHANGED, Reason.RELEASE_NOT_OWNED}


def test_fewer_node_blocks_than_hybrid_nodes_are_a_warning() -> None:
    nodes = [a_node(f"mi-{number}") for number in range(3)]
    result = validated(an_observation(nodes=nodes), pod_cidrs=["10.85.0.0/24"])

    assert result.refusals == ()
    assert [str(warning) for warning in result.warnings] == [
        "spec.ipam.podCIDRs: 2 node blocks of /25 for 3 hybrid nodes; use a larger CIDR, or append another one"
    ]


def test_a_chart_outside_the_allowed_registries_is_refused() -> None:
    result = validated(an_observation(), registries=["public.ecr.aws/eks"])

    assert _named(result.refusals) == [(Reason.CHART_REFUSED, "spec.chart.ref")]
    assert validated(an_observation(), registries=["registry.example"]).refusals == ()


def test_the_max_pods_of_hybrid_nodes_is_compared_with_the_mask_size() -> None:
    nodes = [replace(a_node("mi-1"), max_pods=110), replace(a_node("mi-2"), max_pods=60), a_node("mi-3")]
    small = validated(an_observation(nodes=nodes), mask_size=26)

    assert small.refusals == ()
    assert _named(small.warnings) == [(Reason.INVALID_SPEC, "spec.ipam.maskSize")]
    assert "on mi-1 (110); use 25 or less" in str(small.warnings[0])
    assert validated(an_observation(nodes=nodes), mask_size=25).warnings == ()
    assert validated(an_observation(nodes=nodes[1:]), mask_size=26).warnings == ()
