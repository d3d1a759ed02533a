from typing import Any

import pytest

from builders import DIGEST, MASK, POOL, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.schema_errors import LONGEST_SHOWN, MOST_FAULTS, schema_errors


def told(spec: object) -> list[str]:
    found = schema_errors(spec)
    assert all(fault.reason is Reason.INVALID_SPEC and fault.fix for fault in found)
    return [str(fault) for fault in found]


def ipam(*pod_cidrs: Any, **more: Any) -> dict[str, Any]:
    return {"ipam": {"podCIDRs": list(pod_cidrs), "maskSize": MASK} | more}


def nested(levels: int) -> Any:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    return deep


VERSION = "spec.version: {}: write X.Y.Z or X.Y.Z-N, such as 1.17.13-1, in quotes where YAML would read a number"
REF = "spec.chart.ref: {}: write oci://REGISTRY/REPOSITORY without a tag, or an absolute path"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param({}, [], id="no fault"),
        pytest.param({"version": 1.17}, [VERSION.format("is 1.17")], id="a number for a version"),
        pytest.param({"version": "latest"}, [VERSION.format('is "latest"')], id="no version"),
        pytest.param(
            {"chart": {"ref": "oci://a/" + "b" * 600}},
            [REF.format("has 608 characters, and may have 512")],
            id="a reference that is too long",
        ),
        pytest.param({"chart": {"ref": "charts/cilium"}}, [REF.format('is "charts/cilium"')], id="a relative path"),
        pytest.param(
            {"chart": {"digest": "sha256:x"}},
            ['spec.chart.digest: is "sha256:x": write sha256: and 64 hexadecimal digits'],
            id="a digest that is none",
        ),
        pytest.param(
            {"ipam": None},
            ["spec.ipam: is required and missing: write podCIDRs and maskSize below it"],
            id="null for what is required",
        ),
        pytest.param(
            {"ipam": {"podCIDRs": None, "maskSize": MASK}},
            ["spec.ipam.podCIDRs: is required and missing: add it"],
            id="null for what is required inside",
        ),
        pytest.param(
            {"resources": {"agent": {"limits": None}}, "values": {"x": None}}, [], id="null where all is free"
        ),
        pytest.param(ipam(), ["spec.ipam.podCIDRs: has no entry: write at least 1"], id="no CIDR"),
        pytest.param(ipam(*[POOL] * 16), ["spec.ipam.podCIDRs: has 16 entries: write at most 15"], id="too many CIDRs"),
        pytest.param(
            ipam(10.85),
            ["spec.ipam.podCIDRs[0]: is 10.85: write a text, in quotes where YAML would read something else"],
            id="an entry that cannot be used is an entry",
        ),
        pytest.param(
            ipam("2001:db8:85a3:1::/104"),
            ["spec.ipam.podCIDRs[0]: has 21 characters, and may have 18: write a shorter one"],
            id="a CIDR that is too long",
        ),
        pytest.param(ipam(POOL, maskSize=15), ["spec.ipam.maskSize: is 15: write at least 16"], id="too short a mask"),
        pytest.param(ipam(POOL, maskSize=30), ["spec.ipam.maskSize: is 30: write at most 29"], id="too long a mask"),
        pytest.param(
            ipam(POOL, maskSize="25"), ['spec.ipam.maskSize: is "25": write a whole number'], id="a mask in quotes"
        ),
        pytest.param(
            {"networks": {"nodeCIDRs": "10.80.0.0/16"}},
            ['spec.networks.nodeCIDRs: is "10.80.0.0/16": write a list'],
            id="a text for a list",
        ),
        pytest.param({"values": [1]}, ["spec.values: is a list: write a map"], id="a list of values"),
        pytest.param({"chart": "x"}, ['spec.chart: is "x": write a map'], id="a text for a map"),
        pytest.param({"suspend": 1}, ["spec.suspend: is 1: write true or false"], id="a number for a boolean"),
        pytest.param(
            {"deletionPolicy": "Delete"},
            ['spec.deletionPolicy: is "Delete": write Retain or Uninstall'],
            id="no such policy",
        ),
        pytest.param(
            {"chart": {"digest": DIGEST * 9}},
            [f'spec.chart.digest: is "{(DIGEST * 9)[: LONGEST_SHOWN - 3]}…": write sha256: and 64 hexadecimal digits'],
            id="a long value is cut",
        ),
        pytest.param(
            {"\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}": "\x1b[31m"},
            ["spec.\\u001b[31m\\u202e: is no field of CiliumHybrid: take it out"],
            id="what a terminal would obey is shown",
        ),
    ],
)
def test_faults(edit: dict[str, Any], expected: list[str]) -> None:
    assert told(a_raw_spec() | edit) == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [("masksize", "maskSize"), ("mask_size", "maskSize"), ("mask-size", "maskSize"), ("maskSise", "maskSize")],
)
def test_a_misspelt_field_is_told_once(written: str, meant: str) -> None:
    spec = a_raw_spec(ipam={"podCIDRs": [POOL], written: MASK})

    assert told(spec) == [f"spec.ipam.{written}: is no field of CiliumHybrid: did you mean {meant}?"]


def test_a_field_that_is_like_no_other_hides_none_that_is_missing() -> None:
    assert told(a_raw_spec(ipam={"podCIDRs": [POOL], "operator": {}})) == [
        "spec.ipam.maskSize: is required and missing: add it",
        "spec.ipam.operator: is no field of CiliumHybrid: take it out",
    ]


def test_names_of_the_code_are_no_names_of_fields() -> None:
    assert told(a_raw_spec(allow_unsupported=True)) == [
        "spec.allow_unsupported: is no field of CiliumHybrid: did you mean allowUnsupported?"
    ]


def test_no_spec_is_a_missing_one() -> None:
    assert told(None) == ["spec: is required and missing: add it"]


@pytest.mark.parametrize("spec", [[], "version", 1], ids=["a list", "a text", "a number"])
def test_what_is_no_map_is_told_in_one_sentence(spec: object) -> None:
    (only,) = told(spec)

    assert only.startswith("spec: is ")
    assert only.endswith(": write a map")


TOO_DEEP = "spec: is nested too deeply to be read: take out a level"


@pytest.mark.parametrize("levels", [300, 3000])
def test_depth(levels: int) -> None:
    assert told(a_raw_spec(resources={"agent": {"x": nested(levels)}})) == [TOO_DEEP]
    assert told(nested(levels)) == [TOO_DEEP]


@pytest.mark.parametrize("levels", [300, 3000])
def test_the_depth_of_values_is_left_to_their_rule_and_hides_nothing(levels: int) -> None:
    values = {"debug": nested(levels)}

    assert told(a_raw_spec(values=values)) == []
    assert told(a_raw_spec(values=values, suspend=1)) == ["spec.suspend: is 1: write true or false"]


def test_half_of_a_character_is_no_text() -> None:
    assert told(a_raw_spec(values={"x": "\ud800"})) == [
        "spec: holds half of a surrogate pair, which is no character: take it out"
    ]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"suspend": None}, id="a flag"),
        pytest.param({"chart": None}, id="a map"),
        pytest.param({"chart": {"ref": None, "digest": None}}, id="fields of a map"),
        pytest.param({"networks": {"vpcCIDRs": None}}, id="a list"),
        pytest.param({"values": None}, id="values"),
    ],
)
def test_a_field_that_is_null_is_not_written(spec: dict[str, Any]) -> None:
    """The API server drops it before it judges."""
    assert schema_errors(a_raw_spec() | spec) == ()


def test_null_inside_a_list_is_an_entry() -> None:
    assert told(a_raw_spec() | ipam(POOL, None)) == [
        "spec.ipam.podCIDRs[1]: is null: write a text, in quotes where YAML would read something else"
    ]


def test_faults_are_told_up_to_a_limit() -> None:
    unknown = {f"unknown{number}": number for number in range(10_000)}

    assert len(schema_errors(a_raw_spec() | unknown)) == MOST_FAULTS
