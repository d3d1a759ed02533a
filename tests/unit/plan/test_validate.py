from typing import Any

import pytest

from builders import MASK, NODE, POOL, a_cilium_node, a_foreign_revision, a_node, a_raw_spec, a_revision, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.observation import ForeignPod, Lookups, Observation, PoolConfig
from cilium_hybrid.plan.validate import LookupRequest, lookup_request, validate
from cilium_hybrid.rules.cluster import Taken, all_taken
from cilium_hybrid.rules.rule import Violation

RUNS = PoolConfig((POOL,), MASK)
SERVICE = all_taken([("the Services' network", "10.85.0.0/20")])
OTHER = "10.86.0.0/16"


def networks(*texts: str) -> tuple[tuple[int, int], ...]:
    taken = [Taken.of("", text) for text in texts]
    return tuple((one.first, one.last) for one in taken if one is not None)


@pytest.mark.parametrize(
    ("spec", "observation", "expected"),
    [
        pytest.param({}, an_observation(), LookupRequest(networks(POOL)), id="a first install"),
        pytest.param({}, an_observation(a_revision(), pool=RUNS), None, id="nothing new"),
        pytest.param(
            {"pod_cidrs": [POOL, OTHER]},
            an_observation(a_revision(), pool=RUNS),
            LookupRequest(networks(OTHER)),
            id="an appended CIDR",
        ),
        pytest.param(
            {"pod_cidrs": ["nonsense"]}, an_observation(a_revision(), pool=RUNS), None, id="no network at all"
        ),
        pytest.param(
            {"version": "1.19.4-1"},
            an_observation(a_revision(), pool=RUNS),
            LookupRequest(peering_policies=True),
            id="to a version without peering policies",
        ),
        pytest.param(
            {"version": "1.19.4-1"},
            an_observation(a_revision(version="1.19.4-1"), pool=RUNS),
            None,
            id="that version runs",
        ),
        pytest.param({"version": None}, an_observation(a_revision(), pool=RUNS), None, id="no version at all"),
        pytest.param(
            {}, an_observation(a_revision(3)), LookupRequest(networks(POOL), revision=3), id="only Helm knows the pools"
        ),
        pytest.param(
            {},
            an_observation(a_foreign_revision(3)),
            LookupRequest(networks(POOL)),
            id="somebody else's release tells nothing",
        ),
    ],
)
def test_what_is_looked_up(spec: dict[str, Any], observation: Observation, expected: LookupRequest | None) -> None:
    assert lookup_request(a_raw_spec(**spec), observation) == expected


def refusals(observation: Observation, lookups: Lookups | None = None, **spec: Any) -> list[tuple[Reason, str]]:
    return _named(validate(a_raw_spec(**spec), observation, lookups, ()).refusals)


def _named(violations: tuple[Violation, ...]) -> list[tuple[Reason, str]]:
    return [(violation.reason, violation.path) for violation in violations]


FIRST = (Reason.POD_CIDR_OVERLAP, "spec.ipam.podCIDRs[0]")


@pytest.mark.parametrize(
    ("observation", "lookups", "expected"),
    [
        pytest.param(an_observation(), None, [], id="nothing is there"),
        pytest.param(an_observation(nodes=[a_node()]), None, [], id="a node elsewhere"),
        pytest.param(an_observation(nodes=[a_node(address="10.85.7.7")]), None, [FIRST], id="a hybrid node's address"),
        pytest.param(an_observation(taken=SERVICE), None, [FIRST], id="the Services"),
        pytest.param(an_observation(), Lookups(all_taken([("pod", "10.85.1.1")])), [FIRST], id="a pod of a cloud node"),
        pytest.param(
            an_observation(a_revision(), pool=RUNS, taken=SERVICE, nodes=[a_node(address="10.85.7.7")]),
            None,
            [],
            id="found when the pool already runs",
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
            id="blocks of another mask are left",
        ),
        pytest.param(
            an_observation(a_revision()),
            Lookups(released_pool=PoolConfig((POOL,), 26)),
            [(Reason.MASK_CHANGED, "spec.ipam.maskSize")],
            id="Helm's record knows another mask",
        ),
    ],
)
def test_the_cluster_around_a_spec(
    observation: Observation, lookups: Lookups | None, expected: list[tuple[Reason, str]]
) -> None:
    assert refusals(observation, lookups) == expected


def test_an_overlap_with_a_pool_that_runs_is_told_and_an_added_one_refused() -> None:
    observation = an_observation(a_revision(), pool=RUNS, taken=all_taken([("the VPC", "10.84.0.0/14")]))
    verdict = validate(a_raw_spec(pod_cidrs=[POOL, OTHER]), observation, None, ())

    assert _named(verdict.refusals) == [(Reason.POD_CIDR_OVERLAP, "spec.ipam.podCIDRs[1]")]
    assert _named(verdict.warnings) == [FIRST]


def test_an_old_kernel_stops_a_version_that_does_not_run_on_it_and_not_the_one_that_runs() -> None:
    old = a_node(kernel="4.18.0-553.el8_10.x86_64")
    run = an_observation(a_revision(version="1.18.8-1"), pool=RUNS, nodes=[old])

    assert refusals(an_observation(nodes=[old]), version="1.18.8-1") == [(Reason.KERNEL_TOO_OLD, "spec.version")]
    assert refusals(an_observation(nodes=[old]), version="1.17.9-0") == []
    assert refusals(run, version="1.18.8-1") == []


def test_peering_policies_stop_the_version_that_does_not_know_them() -> None:
    lookups = Lookups(peering_policies=("rack-1",))

    assert refusals(an_observation(), lookups, version="1.19.4-1") == [(Reason.VERSION_UNSUPPORTED, "spec.version")]
    assert refusals(an_observation(), lookups, version="1.18.8-1") == []


def test_what_somebody_else_runs_binds_no_spec() -> None:
    observation = an_observation(a_foreign_revision(), pool=PoolConfig(("10.1.0.0/16",), 26))

    assert validate(a_raw_spec(), observation, None, (), managed=False).refusals == ()


def test_a_chart_from_elsewhere_is_refused_where_registries_are_named() -> None:
    verdict = validate(a_raw_spec(), an_observation(), None, ["public.ecr.aws/eks"])

    assert _named(verdict.refusals) == [(Reason.CHART_REFUSED, "spec.chart.ref")]
    assert validate(a_raw_spec(), an_observation(), None, ["registry.example"]).refusals == ()
