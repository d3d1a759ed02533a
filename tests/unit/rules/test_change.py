from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import MASK, POOL, VERSION, a_lenient_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.change import CHANGE_RULES, Change, Running
from cilium_hybrid.rules.rule import Violation, all_violations
from cilium_hybrid.rules.spec import validate_change
from strategies import small_networks

OTHER = "10.86.0.0/16"
RUNNING = Running(VERSION, (POOL, OTHER), MASK, "cilium-config", frozenset({"1.16.19"}))


def broken(running: Running = RUNNING, **spec: Any) -> tuple[Violation, ...]:
    wanted = a_lenient_spec(**({"pod_cidrs": [POOL, OTHER]} | spec))
    return all_violations(CHANGE_RULES, Change(running, wanted))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, [], id="no change"),
        pytest.param({"pod_cidrs": [POOL, OTHER, "10.87.0.0/16"]}, [], id="a pool is appended"),
        pytest.param({"pod_cidrs": [POOL]}, [Reason.POD_CIDR_REMOVED], id="the last pool is taken out"),
        pytest.param(
            {"pod_cidrs": [OTHER]},
            [Reason.POD_CIDR_REMOVED, Reason.POD_CIDR_REMOVED],
            id="the first pool is taken out and the second moves",
        ),
        pytest.param(
            {"pod_cidrs": [OTHER, POOL]}, [Reason.POD_CIDR_REMOVED, Reason.POD_CIDR_REMOVED], id="pools change places"
        ),
        pytest.param({"pod_cidrs": ["10.85.0.0/15", OTHER]}, [Reason.POD_CIDR_REMOVED], id="a pool is widened"),
        pytest.param({"mask_size": 26}, [Reason.MASK_CHANGED], id="the mask changes"),
        pytest.param({"version": "1.17.9-1"}, [], id="a newer build"),
        pytest.param({"version": "1.17.8-0"}, [], id="an older patch"),
        pytest.param({"version": "1.19.0"}, [], id="two minors up"),
        pytest.param({"version": "1.16.19"}, [], id="one minor down, to one that ran"),
        pytest.param({"version": "1.16.18"}, [Reason.VERSION_UNSUPPORTED], id="one minor down, to one that never ran"),
        pytest.param({"version": "1.15.19"}, [Reason.VERSION_SKIPPED], id="two minors down"),
        pytest.param({"version": "2.17.9-0"}, [Reason.VERSION_UNSUPPORTED], id="another major"),
        pytest.param({"version": "nonsense", "mask_size": "25"}, [], id="what has no form is judged elsewhere"),
        pytest.param(
            {"pod_cidrs": [POOL], "mask_size": 26, "version": "2.18.0"},
            [Reason.POD_CIDR_REMOVED, Reason.MASK_CHANGED, Reason.VERSION_UNSUPPORTED],
            id="pools before the mask before the version",
        ),
        pytest.param({"masquerade": False, "values": {"debug": True}}, [], id="anything else may change"),
    ],
)
def test_change_rules(spec: dict[str, Any], expected: list[Reason]) -> None:
    assert [violation.reason for violation in broken(**spec)] == expected


def test_everything_is_free_while_nothing_runs() -> None:
    assert broken(Running(), pod_cidrs=["10.1.0.0/16"], mask_size=29, version="1.19.0") == ()


@pytest.mark.parametrize(
    ("unknown", "spec"),
    [
        pytest.param({"version": None}, {"version": "1.18.0"}, id="a version that cannot be seen"),
        pytest.param({"mask_size": None}, {"mask_size": 26}, id="a mask that cannot be seen"),
        pytest.param({"pod_cidrs": ()}, {"pod_cidrs": ["10.1.0.0/16"]}, id="pools that cannot be seen"),
    ],
)
def test_what_cannot_be_seen_binds_nothing(unknown: dict[str, Any], spec: dict[str, Any]) -> None:
    assert broken(replace(RUNNING, **unknown), **spec) == ()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(
            {"pod_cidrs": [POOL]},
            f"spec.ipam.podCIDRs[1]: {OTHER} is in use (cilium-config) and nothing stands in its place: put {OTHER}",
            id="a pool that is gone",
        ),
        pytest.param(
            {"pod_cidrs": [OTHER, OTHER]},
            f"spec.ipam.podCIDRs[0]: {POOL} is in use (cilium-config) and {OTHER} stands in its place: put {POOL} back",
            id="a pool that was replaced",
        ),
        pytest.param({"mask_size": 26}, "spec.ipam.maskSize: cannot change from 25 to 26", id="the mask"),
        pytest.param(
            {"version": "2.17.9"},
            "spec.version: cannot go from 1.17.9-0 to 2.17.9, because no step between major releases is tested: write",
            id="another major",
        ),
        pytest.param(
            {"version": "1.16.18"},
            "spec.version: cannot go from 1.17.9-0 to 1.16.18, because this cluster never ran 1.16.18: write 1.17.9-0",
            id="a version that never ran",
        ),
        pytest.param(
            {"version": "1.15.1"},
            f"spec.version: cannot go from {VERSION} to 1.15.1, because at most one minor release down is tested, "
            f"which is 1.16: write {VERSION}",
            id="a minor that is skipped",
        ),
    ],
)
def test_a_message_names_both_values_and_the_way_back(spec: dict[str, Any], words: str) -> None:
    assert str(broken(**spec)[0]).startswith(words)


SOME_POOLS = st.lists(st.sampled_from([POOL, OTHER, "10.87.0.0/16", "10.85.0.0/15"]), max_size=4)


@given(SOME_POOLS, SOME_POOLS)
def test_a_list_may_follow_another_exactly_when_it_begins_with_it(old: list[str], new: list[str]) -> None:
    allowed = broken(Running(pod_cidrs=tuple(old)), pod_cidrs=new) == ()

    assert allowed == (new[: len(old)] == old)


@given(SOME_POOLS, st.sampled_from([MASK, 26]), st.lists(small_networks().map(str), max_size=2))
def test_what_runs_may_be_written_again_whatever_networks_were_declared_since(
    pools: list[str], mask: int, networks: list[str]
) -> None:
    """So a change that is refused can be reverted."""
    running = Running(VERSION, tuple(pools), mask)
    declared = {"vpcCIDRs": [POOL, *networks], "remotePodCIDRs": networks}
    spec = a_lenient_spec(pod_cidrs=pools, mask_size=mask, networks=declared)

    assert validate_change(spec, running).refusals == ()
