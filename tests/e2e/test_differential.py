"""Thousands of specs and changes get the same result from the API server, by the CRD, and from the operator's rules."""

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
from cilium_hybrid.rules.change import Running, SpecChange, mask_size_is_immutable, pod_cidrs_are_append_only
from cilium_hybrid.rules.cidrs import (
    CIDR_RULES,
    cidrs_are_ipv4,
    cidrs_have_no_host_bits,
    pod_cidrs_are_in_remote_pod_networks,
    pod_cidrs_are_private,
    pod_cidrs_do_not_overlap,
    pod_cidrs_do_not_overlap_declared_networks,
    pod_cidrs_fit_a_node_block,
)
from cilium_hybrid.rules.lenient_spec import LenientSpec, read_lenient_spec
from cilium_hybrid.rules.pull_secrets import pull_secrets_are_unique
from cilium_hybrid.rules.rule import Rule, Violation, all_violations
from cilium_hybrid.rules.schema_errors import schema_errors
from cilium_hybrid.rules.spec import refuse_only_added_cidrs, validate_change
from near_misses import edited, near_misses, valid_specs
from testbed.api import ApiError
from testbed.cluster import Cluster
from testbed.operator import wait_for_crd

ROOT = Path(__file__).parents[2]
RESOURCES = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
RESOURCE = f"{RESOURCES}/{NAME}"
READY = {
    "type": "Ready",
    "status": "False",
    "reason": "Installing",
    "message": "x",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-03-01T12:00:00Z",
}
STEPS = 12
MIN_VIOLATIONS = 20
NOT_INSTALLED = Running()


@dataclass(frozen=True)
class SpecWrite:
    """A resource that a user writes, and the Cilium that runs. `observed`: the operator has written the status."""

    raw: Any
    running: Running = NOT_INSTALLED
    name: str = NAME
    observed: bool = False

    @cached_property
    def spec(self) -> LenientSpec:
        return read_lenient_spec(self.raw)


OperatorRule = Callable[[SpecWrite], Iterable[Violation]]


def _on_the_spec(rule: Rule[LenientSpec]) -> OperatorRule:
    return lambda write: rule(write.spec)


def _on_the_change(rule: Rule[SpecChange]) -> OperatorRule:
    return lambda write: rule(SpecChange(write.running, write.spec))


def _on_one_list(rule: Rule[LenientSpec], field: str, *, observed: bool) -> OperatorRule:
    """The CRD has two rules for each list of networks: on all pod CIDRs at first, then on those not applied yet."""

    def operator_rule(write: SpecWrite) -> Iterable[Violation]:
        if observed != write.observed:
            return ()
        spec = replace(write.spec, networks={field: write.spec.networks[field]})
        return refuse_only_added_cidrs(tuple(rule(spec)), spec, write.running).refusals

    return operator_rule


def _only_name(write: SpecWrite) -> Iterable[Violation]:
    """The operator has no such rule, because it ignores other names."""
    return () if write.name == NAME else (Violation(Reason.INVALID_SPEC, "metadata.name", "is another name"),)


def _on_networks(field: str, condition: str, rule: Rule[LenientSpec]) -> Mapping[str, OperatorRule]:
    return {
        f"podCIDRs must {condition}": _on_one_list(rule, field, observed=False),
        f"added podCIDRs must {condition}": _on_one_list(rule, field, observed=True),
    }


DUPLICATE = "Duplicate value"
"""The message of the API server for two entries of a list with the same key."""
OPERATOR_RULES: Mapping[str, OperatorRule] = {
    "must be 'default'": _only_name,
    "must be an IPv4 CIDR": _on_the_spec(cidrs_are_ipv4),
    "has host bits set": _on_the_spec(cidrs_have_no_host_bits),
    "must be inside 10.0.0.0/8": _on_the_spec(pod_cidrs_are_private),
    "must not overlap each other": _on_the_spec(pod_cidrs_do_not_overlap),
    "each pod CIDR must be at least as large as a node block": _on_the_spec(pod_cidrs_fit_a_node_block),
    DUPLICATE: _on_the_spec(pull_secrets_are_unique),
    "podCIDRs is append-only": _on_the_change(pod_cidrs_are_append_only),
    "maskSize is immutable": _on_the_change(mask_size_is_immutable),
    **_on_networks("nodeCIDRs", "not overlap the remote node networks", pod_cidrs_do_not_overlap_declared_networks),
    **_on_networks("vpcCIDRs", "not overlap the VPC CIDRs", pod_cidrs_do_not_overlap_declared_networks),
    **_on_networks("serviceCIDRs", "not overlap the Service CIDRs", pod_cidrs_do_not_overlap_declared_networks),
    **_on_networks("remotePodCIDRs", "be inside the remote pod", pod_cidrs_are_in_remote_pod_networks),
}
"""The start of the message of each rule of the CRD, and the equivalent rule of the operator."""


@dataclass(frozen=True)
class CRDRule:
    """A rule of the CRD; the field of a list entry ends with []."""

    field: str
    message: str
    on_a_change: bool


def _rules(node: Mapping[str, Any], path: str = "") -> Iterator[CRDRule]:
    """Yield the rules of a schema."""
    for rule in node.get("x-kubernetes-validations", []):
        field = f"{path}{rule.get('fieldPath', '')}".removeprefix(".")
        yield CRDRule(field, rule["message"], "oldSelf" in rule["rule"])
    for name, child in node.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}")
    if "items" in node:
        yield from _rules(node["items"], f"{path}[]")


RULES = (
    *_rules(custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]),
    CRDRule("spec.imagePullSecrets", DUPLICATE, on_a_change=False),
)
MESSAGES = {rule.message for rule in RULES}
FieldAndMessage = tuple[str, str]
"""The path of a field and the message of the CRD rule that it violates."""


@dataclass(frozen=True)
class Answer:
    """The answer of one side: fields with schema errors, and violated rules; None if it does not say."""

    refused: bool
    malformed: bool
    errors: frozenset[str] | None
    violations: frozenset[FieldAndMessage] | None


def _beginnings(message: str) -> list[str]:
    return [beginning for beginning in OPERATOR_RULES if message.startswith(beginning)]


def operator_answer(write: SpecWrite) -> Answer:
    """Return the answer of the operator's rules; those without a rule in the CRD count only for `refused`."""
    errors = schema_errors(write.raw)
    rules = (
        all_violations((*CIDR_RULES, pull_secrets_are_unique), write.spec)
        + validate_change(write.spec, write.running).refusals
    )
    violations = frozenset((field, rule.message) for rule in RULES for field in _fields(write, rule))
    return Answer(
        refused=bool(errors or rules or write.name != NAME),
        malformed=bool(errors),
        errors=frozenset(error.path for error in errors),
        violations=violations,
    )


def _fields(write: SpecWrite, rule: CRDRule) -> Iterator[str]:
    """Yield the fields that should violate a rule of the CRD."""
    (beginning,) = _beginnings(rule.message)
    for violation in OPERATOR_RULES[beginning](write):
        shape = re.sub(r"\[\d+\]", "[]", violation.path)
        if shape == rule.field:
            yield violation.path
        elif shape == f"{rule.field}[]":
            yield rule.field


def api_server_answer(write: Callable[[], Any]) -> Answer:
    """Return the answer of the API server to a request."""
    try:
        write()
    except ApiError as error:
        answer = json.loads(error.body)
        if error.status == HTTPStatus.BAD_REQUEST and "strict decoding error" in answer["message"]:
            return Answer(refused=True, malformed=True, errors=None, violations=None)
        if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return _refusal(answer["details"]["causes"])
        raise
    return Answer(refused=False, malformed=False, errors=frozenset(), violations=frozenset())


def _refusal(causes: Iterable[Mapping[str, str]]) -> Answer:
    errors, violations, complete, counted = set(), set(), True, True
    for cause in causes:
        field, message = cause["field"], cause["message"]
        assert "evaluating rule:" not in message, "an expression failed instead of being false"
        if "some validation rules were not checked" in message:
            complete = False
        elif cause["reason"] == "FieldValueDuplicate":
            violations.add((field.rpartition("[")[0], DUPLICATE))
        elif rule := max(filter(message.endswith, MESSAGES), key=len, default=None):
            violations.add((field, rule))
        else:
            errors.add(field)
            # The API server counts too many items, and then does not validate them.
            counted = counted and "Too many:" not in message
    return Answer(
        refused=True,
        malformed=bool(errors) or not complete,
        errors=frozenset(errors) if counted else None,
        violations=frozenset(violations) if complete else None,
    )


def assert_equal(write: SpecWrite, server: Answer, counts: Counter[str]) -> None:
    """Compare the answers, and count which rules were violated."""
    operator = operator_answer(write)

    assert (operator.refused, operator.malformed) == (server.refused, server.malformed)
    assert server.errors in {None, operator.errors}
    assert server.violations in {None, operator.violations}
    counts.update({message for _, message in server.violations or ()})
    counts["refused" if server.refused else "accepted"] += 1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the CRD, without nodes."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=0, cloud=0, cilium=False, eks=False) as started:
        started.kubectl("apply", "-k", ROOT / "deploy/definition")
        wait_for_crd(started)
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


def test_each_rule_of_the_crd_has_an_operator_rule() -> None:
    beginnings = {message: _beginnings(message) for message in MESSAGES}

    assert {message: found for message, found in beginnings.items() if len(found) != 1} == {}
    assert {found for (found,) in beginnings.values()} == set(OPERATOR_RULES)


@pytest.mark.parametrize("times", NUMBERS)
def test_both_give_the_same_result_for_a_new_resource(cluster: Cluster, times: int) -> None:
    counts: Counter[str] = Counter()
    names = st.sampled_from([NAME] * 30 + ["x", "default.x"])

    @examples(2000 * times, fixed=times == 1)
    @given(near_misses(), names)
    def compare(raw: Any, name: str) -> None:
        query = "?dryRun=All&fieldValidation=Strict"
        answer = api_server_answer(lambda: cluster.request("POST", RESOURCES + query, resource(raw, name)))
        assert_equal(SpecWrite(raw, name=name), answer, counts)

    compare()

    assert counts["accepted"] > 200
    assert _rarely_violated(counts, on_a_change=False) == []


def test_both_refuse_an_integer_with_a_decimal_point(cluster: Cluster) -> None:
    """Tested separately: for the schema 25.0 is an integer, and the expressions fail on it."""
    raw = a_raw_spec() | {"ipam": {"podCIDRs": ["10.85.0.0/16"], "maskSize": 25.0}}

    with pytest.raises(ApiError, match="expected int, got float64"):
        cluster.request("POST", f"{RESOURCES}?dryRun=All", resource(raw))
    assert [error.path for error in schema_errors(raw)] == ["spec.ipam.maskSize"]


@pytest.mark.parametrize("times", NUMBERS)
def test_both_give_the_same_result_for_a_change(cluster: Cluster, times: int) -> None:
    """Each example is a sequence of changes to the last accepted spec."""
    counts: Counter[str] = Counter()

    @examples(150 * times, fixed=times == 1)
    @given(valid_specs(), st.integers(0, 4), st.integers(0, 4), st.data())
    def compare(first: Any, observed_after: int, applied_after: int, data: st.DataObject) -> None:
        stored = cluster.request("POST", RESOURCES, resource(first))
        try:
            for step in range(STEPS):
                if step == observed_after:
                    stored = _write_status(cluster, {"conditions": [READY]})
                if step == observed_after + applied_after:
                    stored = _write_status(cluster, {"ipam": {"applied": stored["spec"]["ipam"]}})
                stored = _change(cluster, stored, data.draw(edited(stored["spec"])), counts)
        finally:
            cluster.request("DELETE", RESOURCE)

    compare()

    assert counts["accepted"] > 200
    assert _rarely_violated(counts, on_a_change=True) == []


def _rarely_violated(counts: Counter[str], *, on_a_change: bool) -> list[str]:
    """Return the rules that too few examples violated for a meaningful comparison."""
    rules = {rule.message for rule in RULES if rule.on_a_change is on_a_change}
    return [message for message in rules if counts[message] < MIN_VIOLATIONS]


def _write_status(cluster: Cluster, status: Mapping[str, Any]) -> Any:
    """Write what the operator writes before and after the install."""
    return cluster.request("PATCH", f"{RESOURCE}/status", {"status": status}, kind="application/merge-patch+json")


def _change(cluster: Cluster, stored: Any, raw: Any, counts: Counter[str]) -> Any:
    """Write another spec, compare the answers, and return the stored resource."""
    applied = stored["status"].get("ipam", {}).get("applied")
    running = NOT_INSTALLED if applied is None else Running(None, tuple(applied["podCIDRs"]), applied["maskSize"])
    write = SpecWrite(raw, running, observed="conditions" in stored["status"])
    written = []

    def put() -> None:
        body = resource(raw, resourceVersion=stored["metadata"]["resourceVersion"])
        written.append(cluster.request("PUT", f"{RESOURCE}?fieldValidation=Strict", body))

    assert_equal(write, api_server_answer(put), counts)
    return written[0] if written else stored
