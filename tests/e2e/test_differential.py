"""Thousands of specs and changes: what the API server says of each, by the CRD, is what the operator's rules say."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.crd import custom_resource_definition
from cilium_hybrid.api.v1alpha1 import GROUP, KIND, NAME, PLURAL, VERSION
from cilium_hybrid.rules.change import Change, Running, pod_cidrs_only_grow, the_mask_stays
from cilium_hybrid.rules.cidrs import (
    CIDR_RULES,
    cidrs_are_ipv4_networks,
    cidrs_begin_with_their_first_address,
    pod_cidrs_are_private,
    pod_cidrs_do_not_overlap,
    pod_cidrs_hold_a_block,
    pod_cidrs_keep_clear_of_declared_networks,
    pod_cidrs_lie_in_the_remote_pod_networks,
)
from cilium_hybrid.rules.lenient_spec import LenientSpec, read_lenient_spec
from cilium_hybrid.rules.rendered.images import no_pull_secret_is_named_twice
from cilium_hybrid.rules.rule import Rule, Violation, all_violations
from cilium_hybrid.rules.schema_errors import schema_errors
from cilium_hybrid.rules.spec import of_added, validate_change
from near_misses import edited, near_misses, valid_specs
from testbed.api import ApiError
from testbed.cluster import Cluster
from testbed.operator import wait_for_the_definition

ROOT = Path(__file__).parents[2]
RESOURCES = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
RESOURCE = f"{RESOURCES}/{NAME}"
RELEASE = {"revision": 1, "status": "deployed", "chart": "x", "chartDigest": "x", "valuesDigest": "x"}
STEPS = 12
BROKEN_AT_LEAST = 20
NOTHING = Running()


@dataclass(frozen=True)
class SpecInCluster:
    """A resource that somebody writes, and what runs."""

    raw: Any
    running: Running = NOTHING
    name: str = NAME

    @cached_property
    def spec(self) -> LenientSpec:
        return read_lenient_spec(self.raw)


Twin = Callable[[SpecInCluster], Iterable[Violation]]


def _on_the_spec(rule: Rule[LenientSpec]) -> Twin:
    return lambda case: rule(case.spec)


def _on_the_change(rule: Rule[Change]) -> Twin:
    return lambda case: rule(Change(case.running, case.spec))


def _on_one_list(rule: Rule[LenientSpec], field: str, *, installed: bool) -> Twin:
    """The CRD has two rules for each list of networks: on all pod CIDRs before the install, on the added ones after."""

    def twin(case: SpecInCluster) -> Iterable[Violation]:
        if installed != bool(case.running.pod_cidrs):
            return ()
        alone = replace(case.spec, networks={field: case.spec.networks[field]})
        return of_added(tuple(rule(alone)), alone, case.running).refusals

    return twin


def _there_is_one(case: SpecInCluster) -> Iterable[Violation]:
    """The operator has no such rule: it looks at no other name."""
    return () if case.name == NAME else (Violation(Reason.INVALID_SPEC, "metadata.name", "is another"),)


def _on_networks(field: str, words: str, rule: Rule[LenientSpec]) -> Mapping[str, Twin]:
    return {
        f"podCIDRs must {words}": _on_one_list(rule, field, installed=False),
        f"added podCIDRs must {words}": _on_one_list(rule, field, installed=True),
    }


TWINS: Mapping[str, Twin] = {
    "a cluster has one CNI": _there_is_one,
    "must be an IPv4 CIDR": _on_the_spec(cidrs_are_ipv4_networks),
    "has bits set to the right of its prefix": _on_the_spec(cidrs_begin_with_their_first_address),
    "must lie in 10.0.0.0/8": _on_the_spec(pod_cidrs_are_private),
    "must not overlap one another": _on_the_spec(pod_cidrs_do_not_overlap),
    "each pod CIDR must hold at least one block": _on_the_spec(pod_cidrs_hold_a_block),
    "must not name the same Secret twice": _on_the_spec(no_pull_secret_is_named_twice),
    "podCIDRs is append-only": _on_the_change(pod_cidrs_only_grow),
    "maskSize cannot change": _on_the_change(the_mask_stays),
    **_on_networks("nodeCIDRs", "not overlap the nodes' network", pod_cidrs_keep_clear_of_declared_networks),
    **_on_networks("vpcCIDRs", "not overlap the VPC", pod_cidrs_keep_clear_of_declared_networks),
    **_on_networks("serviceCIDRs", "not overlap the Services' network", pod_cidrs_keep_clear_of_declared_networks),
    **_on_networks("remotePodCIDRs", "lie inside the remote pod", pod_cidrs_lie_in_the_remote_pod_networks),
}
"""How the message of each rule of the CRD begins, and the rule of the operator that says the same."""


@dataclass(frozen=True)
class Written:
    """A rule of the CRD; the place of an entry of a list ends with []."""

    place: str
    message: str
    on_a_change: bool


def _rules(node: Mapping[str, Any], place: str = "") -> Iterator[Written]:
    """The rules of a schema."""
    for rule in node.get("x-kubernetes-validations", []):
        field = f"{place}{rule.get('fieldPath', '')}".removeprefix(".")
        yield Written(field, rule["message"], "oldSelf" in rule["rule"])
    for name, child in node.get("properties", {}).items():
        yield from _rules(child, f"{place}.{name}")
    if "items" in node:
        yield from _rules(node["items"], f"{place}[]")


RULES = tuple(_rules(custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
MESSAGES = {rule.message for rule in RULES}
Broken = tuple[str, str]
"""The path of a field and the message of the rule that it breaks."""


@dataclass(frozen=True)
class Answer:
    """What one side says: the fields of a wrong form, and the rules that are broken; None where it does not say."""

    refused: bool
    malformed: bool
    faults: frozenset[str] | None
    broken: frozenset[Broken] | None


def _beginnings(message: str) -> list[str]:
    return [beginning for beginning in TWINS if message.startswith(beginning)]


def by_the_operator(case: SpecInCluster) -> Answer:
    """The answer of the operator's rules; what no rule of the CRD stands for is in `refused` alone."""
    faults = schema_errors(case.raw)
    rules = (
        all_violations((*CIDR_RULES, no_pull_secret_is_named_twice), case.spec)
        + validate_change(case.spec, case.running).refusals
    )
    broken = frozenset((field, rule.message) for rule in RULES for field in _fields(case, rule))
    return Answer(
        refused=bool(faults or rules or case.name != NAME),
        malformed=bool(faults),
        faults=frozenset(fault.path for fault in faults),
        broken=broken,
    )


def _fields(case: SpecInCluster, rule: Written) -> Iterator[str]:
    """The fields at which a rule of the CRD should be broken."""
    (beginning,) = _beginnings(rule.message)
    for violation in TWINS[beginning](case):
        shape = re.sub(r"\[\d+\]", "[]", violation.path)
        if shape == rule.place:
            yield violation.path
        elif shape == f"{rule.place}[]":
            yield rule.place


def by_the_api_server(write: Callable[[], Any]) -> Answer:
    """The answer of the API server to one request."""
    try:
        write()
    except ApiError as error:
        answer = json.loads(error.body)
        if error.status == HTTPStatus.BAD_REQUEST and "strict decoding error" in answer["message"]:
            return Answer(refused=True, malformed=True, faults=None, broken=None)
        if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return _refusal(answer["details"]["causes"])
        raise
    return Answer(refused=False, malformed=False, faults=frozenset(), broken=frozenset())


def _refusal(causes: Iterable[Mapping[str, str]]) -> Answer:
    faults, broken, complete, counted = set(), set(), True, True
    for cause in causes:
        field, message = cause["field"], cause["message"]
        assert "evaluating rule:" not in message, "an expression failed, where it should have said no"
        if "some validation rules were not checked" in message:
            complete = False
        elif rule := max(filter(message.endswith, MESSAGES), key=len, default=None):
            broken.add((field, rule))
        else:
            faults.add(field)
            # Too many entries are counted by one side and looked at by the other.
            counted = counted and "Too many:" not in message
    return Answer(
        refused=True,
        malformed=bool(faults) or not complete,
        faults=frozenset(faults) if counted else None,
        broken=frozenset(broken) if complete else None,
    )


def agree(case: SpecInCluster, server: Answer, seen: Counter[str]) -> None:
    """Hold the answers against each other, and count which rules were broken."""
    operator = by_the_operator(case)

    assert (operator.refused, operator.malformed) == (server.refused, server.malformed)
    assert server.faults in {None, operator.faults}
    assert server.broken in {None, operator.broken}
    seen.update({message for _, message in server.broken or ()})
    seen["refused" if server.refused else "accepted"] += 1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that knows the resource, without nodes."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=0, cloud=0, cilium=False, eks=False) as started:
        started.kubectl("apply", "-k", ROOT / "deploy/definition")
        wait_for_the_definition(started)
        yield started


def resource(spec: Any, name: str = NAME, **metadata: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def examples(number: int, *, fixed: bool) -> settings:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=number, derandomize=fixed, database=None, deadline=None, suppress_health_check=slow)


NUMBERS = [pytest.param(1, id="fixed"), pytest.param(10, id="random", marks=pytest.mark.long)]


def test_each_rule_of_the_definition_has_a_twin() -> None:
    beginnings = {message: _beginnings(message) for message in MESSAGES}

    assert {message: found for message, found in beginnings.items() if len(found) != 1} == {}
    assert {found for (found,) in beginnings.values()} == set(TWINS)


@pytest.mark.parametrize("times", NUMBERS)
def test_of_a_new_resource_both_say_the_same(cluster: Cluster, times: int) -> None:
    seen: Counter[str] = Counter()
    names = st.sampled_from([NAME] * 30 + ["x", "default.x"])

    @examples(2000 * times, fixed=times == 1)
    @given(near_misses(), names)
    def compare(raw: Any, name: str) -> None:
        query = "?dryRun=All&fieldValidation=Strict"
        answer = by_the_api_server(lambda: cluster.request("POST", RESOURCES + query, resource(raw, name)))
        agree(SpecInCluster(raw, name=name), answer, seen)

    compare()

    assert seen["accepted"] > 200
    assert _seldom(seen, on_a_change=False) == []


def test_a_whole_number_with_a_point_is_refused_by_both(cluster: Cluster) -> None:
    """Apart from the rest: to the schema 25.0 is an integer, and it is the expressions that fail on it."""
    raw = a_raw_spec() | {"ipam": {"podCIDRs": ["10.85.0.0/16"], "maskSize": 25.0}}

    with pytest.raises(ApiError, match="expected int, got float64"):
        cluster.request("POST", f"{RESOURCES}?dryRun=All", resource(raw))
    assert [fault.path for fault in schema_errors(raw)] == ["spec.ipam.maskSize"]


@pytest.mark.parametrize("times", NUMBERS)
def test_of_a_change_both_say_the_same(cluster: Cluster, times: int) -> None:
    """Each example is a life: what is accepted is what the next change starts from."""
    seen: Counter[str] = Counter()

    @examples(150 * times, fixed=times == 1)
    @given(valid_specs(), st.integers(0, 4), st.data())
    def compare(first: Any, installed_after: int, data: st.DataObject) -> None:
        there = cluster.request("POST", RESOURCES, resource(first))
        try:
            for step in range(STEPS):
                if step == installed_after:
                    there = _install(cluster)
                there = _change(cluster, there, data.draw(edited(there["spec"])), seen)
        finally:
            cluster.request("DELETE", RESOURCE)

    compare()

    assert seen["accepted"] > 200
    assert _seldom(seen, on_a_change=True) == []


def _seldom(seen: Counter[str], *, on_a_change: bool) -> list[str]:
    """The rules that too few examples broke for the comparison to mean much."""
    rules = {rule.message for rule in RULES if rule.on_a_change is on_a_change}
    return [message for message in rules if seen[message] < BROKEN_AT_LEAST]


def _install(cluster: Cluster) -> Any:
    """What the operator writes when it has released Cilium."""
    kind = "application/merge-patch+json"
    return cluster.request("PATCH", f"{RESOURCE}/status", {"status": {"release": RELEASE}}, kind=kind)


def _change(cluster: Cluster, there: Any, raw: Any, seen: Counter[str]) -> Any:
    """Write another spec, compare the answers, and return the resource as it is then."""
    ipam = there["spec"]["ipam"]
    running = Running(None, tuple(ipam["podCIDRs"]), ipam["maskSize"]) if "status" in there else NOTHING
    written = []

    def write() -> None:
        body = resource(raw, resourceVersion=there["metadata"]["resourceVersion"])
        written.append(cluster.request("PUT", f"{RESOURCE}?fieldValidation=Strict", body))

    agree(SpecInCluster(raw, running), by_the_api_server(write), seen)
    return written[0] if written else there
