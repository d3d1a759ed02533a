from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import MASK, POOL, VERSION, a_lenient_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.change import CHANGE_RULES, Running, SpecChange
from cilium_hybrid.rules.rule import Violation, all_violations
from cilium_hybrid.rules.spec import validate_change
from strategies import small_networks

OTHER = "10.86.0.0/16"
RUNNING = Running(VERSION, (POOL, OTHER), MASK, "cilium-config", frozenset({"1.16.19"}))


def broken(running: Running = RUNNING, **spec: Any) -> tuple[Violation, ...]:
    new = a_lenient_spec(**({"pod_cidrs": [POOL, OTHER]} | spec))
    return all_violations(CHANGE_RULES, SpecChange(running, new))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, [], id="no change"),
        pytest.param({"pod_cidrs": [POOL, OTHER, "10.87.0.0/16"]}, [], id="a pod CIDR is appended"),
        pytest.param({"pod_cidrs": [POOL]}, [Reason.POD_CIDR_REMOVED], id="the last pod CIDR is removed"),
        pytest.param(
            {"pod_cidrs": [OTHER]},
            [Reason.POD_CIDR_REMOVED, Reason.POD_CIDR_REMOVED],
            id="the first pod CIDR is removed, so the second moves",
        ),
        pytest.param(
            {"pod_cidrs": [OTHER, POOL]},
            [Reason.POD_CIDR_REMOVED, Reason.POD_CIDR_REMOVED],
            id="pod CIDRs are reordered",
        ),
        pytest.param({"pod_cidrs": ["10.85.0.0/15", OTHER]}, [Reason.POD_CIDR_REMOVED], id="a pod CIDR is enlarged"),
        pytest.param({"mask_size": 26}, [Reason.MASK_CHANGED], id="the mask changes"),
        pytest.param({"version": "1.17.9-1"}, [], id="a newer build"),
        pytest.param({"version": "1.17.8-0"}, [], id="an older patch"),
        pytest.param({"version": "1.19.0"}, [], id="two minors up"),
        pytest.param({"version": "1.16.19"}, [], id="one minor down, to a version that ran"),
        pytest.param(
            {"version": "1.16.18"}, [Reason.VERSION_UNSUPPORTED], id="one minor down, to a version that never ran"
        ),
        pytest.param({"version": "1.15.19"}, [Reason.VERSION_SKIPPED], id="two minors down"),
        pytest.param({"version": "2.17.9-0"}, [Reason.VERSION_UNSUPPORTED], id="another major"),
        pytest.param({"version": "nonsense", "mask_size": "25"}, [], id="schema errors are reported by other rules"),
        pytest.param(
            {"pod_cidrs": [POOL], "mask_size": 26, "version": "2.18.0"},
            [Reason.POD_CIDR_REMOVED, Reason.MASK_CHANGED, Reason.VERSION_UNSUPPORTED],
            id="pod CIDRs before the mask before the version",
        ),
        pytest.param({"masquerade": False, "values": {"debug": True}}, [], id="other fields may change"),
    ],
)
def test_change_rules(spec: dict[str, Any], expected: list[Reason]) -> None:
    assert [violation.reason for violation in broken(**spec)] == expected


def test_nothing_is_restricted_before_the_install() -> None:
    assert broken(Running(), pod_cidrs=["10.1.0.0/16"], mask_size=29, version="1.19.0") == ()


@pytest.mark.parametrize(
    ("unknown", "spec"),
    [
        pytest.param({"version": None}, {"version": "1.18.0"}, id="unknown version"),
        pytest.param({"mask_size": None}, {"mask_size": 26}, id="unknown mask"),
        pytest.param({"pod_cidrs": ()}, {"pod_cidrs": ["10.1.0.0/16"]}, id="unknown pod CIDRs"),
    ],
)
def test_unknown_facts_restrict_nothing(unknown: dict[str, Any], spec: dict[str, Any]) -> None:
    assert broken(replace(RUNNING, **unknown), **spec) == ()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(
            {"pod_cidrs": [POOL]},
            f"spec.ipam.podCIDRs[1]: {OTHER} is in use (cilium-config) and cannot be removed; restore {OTHER} here",
            id="a removed pod CIDR",
        ),
        pytest.param(
            {"pod_cidrs": [OTHER, OTHER]},
            f"spec.ipam.podCIDRs[0]: {POOL} is in use (cilium-config) and cannot be replaced by {OTHER}; restore",
            id="a replaced pod CIDR",
        ),
        pytest.param(
            {"mask_size": 26},
            "spec.ipam.maskSize: Invalid value: 26: cannot change from 25, because all node blocks are /25",
            id="the mask",
        ),
        pytest.param(
            {"version": "2.17.9"},
            'spec.version: Invalid value: "2.17.9": cannot change from 1.17.9-0 to another major version',
            id="another major",
        ),
        pytest.param(
            {"version": "1.16.18"},
            'spec.version: Invalid value: "1.16.18": cannot downgrade from 1.17.9-0 to a version that never ran here',
            id="a version that never ran",
        ),
        pytest.param(
            {"version": "1.15.1"},
            f'spec.version: Invalid value: "1.15.1": cannot downgrade from {VERSION} by more than one minor version',
            id="a minor that is skipped",
        ),
    ],
)
def test_the_message_names_both_values_and_the_fix(spec: dict[str, Any], words: str) -> None:
    assert str(broken(**spec)[0]).startswith(words)


SOME_POOLS = st.lists(st.sampled_from([POOL, OTHER, "10.87.0.0/16", "10.84.0.0/15"]), max_size=4)


@given(SOME_POOLS, SOME_POOLS)
def test_new_pod_cidrs_are_accepted_exactly_if_they_start_with_the_old_ones(old: list[str], new: list[str]) -> None:
    allowed = broken(Running(pod_cidrs=tuple(old)), pod_cidrs=new) == ()

    assert allowed == (new[: len(old)] == old)


@given(SOME_POOLS, st.sampled_from([MASK, 26]), st.lists(small_networks().map(str), max_size=2))
def test_the_running_spec_is_accepted_whatever_networks_were_declared_since(
    pools: list[str], mask: int, networks: list[str]
) -> None:
    """A refused change can always be reverted."""
    running = Running(VERSION, tuple(pools), mask)
    declared = {"vpcCIDRs": [POOL, *networks], "remotePodCIDRs": networks}
    spec = a_lenient_spec(pod_cidrs=pools, mask_size=mask, networks=declared)

    assert validate_change(spec, running).refusals == ()
