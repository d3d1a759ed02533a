import re
from typing import Any

import pytest

from builders import DIGEST, MASK, POOL, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.schema_errors import MAX_ERRORS, schema_errors
from cilium_hybrid.rules.text import MAX_VALUE_LENGTH


def messages(spec: object) -> list[str]:
    found = schema_errors(spec)
    assert all(error.reason is Reason.INVALID_SPEC for error in found)
    assert all(error.fix or re.search("must |supported values|^Required value$", error.message) for error in found)
    return [str(error) for error in found]


def ipam(*pod_cidrs: Any, **more: Any) -> dict[str, Any]:
    return {"ipam": {"podCIDRs": list(pod_cidrs), "maskSize": MASK} | more}


def nested(levels: int) -> Any:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    return deep


VERSION = "must be X.Y.Z or X.Y.Z-N, such as 1.17.13-1"
DIGEST_FORMAT = "must be sha256: followed by 64 lowercase hexadecimal digits"
REF = "must be oci://REGISTRY/REPOSITORY without a tag, or an absolute path"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param({}, [], id="valid"),
        pytest.param(
            {"version": 1.17},
            [f"spec.version: Invalid value: 1.17: {VERSION}; put it in quotes"],
            id="a number for a version",
        ),
        pytest.param({"version": "latest"}, [f'spec.version: Invalid value: "latest": {VERSION}'], id="not a version"),
        pytest.param(
            {"chart": {"ref": "oci://a/" + "b" * 600}},
            ["spec.chart.ref: Too long: must have at most 512 characters"],
            id="a reference that is too long",
        ),
        pytest.param(
            {"chart": {"ref": "charts/cilium"}},
            [f'spec.chart.ref: Invalid value: "charts/cilium": {REF}'],
            id="a relative path",
        ),
        pytest.param(
            {"chart": {"digest": "sha256:x"}},
            [f'spec.chart.digest: Invalid value: "sha256:x": {DIGEST_FORMAT}'],
            id="not a digest",
        ),
        pytest.param(
            {"ipam": None},
            ["spec.ipam: Required value; set podCIDRs and maskSize"],
            id="null for a required field",
        ),
        pytest.param(
            {"ipam": {"podCIDRs": None, "maskSize": MASK}},
            ["spec.ipam.podCIDRs: Required value"],
            id="null for a required nested field",
        ),
        pytest.param(
            {"resources": {"agent": {"limits": None}}, "values": {"x": None}}, [], id="null in a free-form field"
        ),
        pytest.param(ipam(), ["spec.ipam.podCIDRs: Invalid value: []: must have at least 1 item"], id="no CIDR"),
        pytest.param(
            ipam(*[POOL] * 16), ["spec.ipam.podCIDRs: Too many: 16: must have at most 15 items"], id="too many CIDRs"
        ),
        pytest.param(
            ipam(10.85),
            ["spec.ipam.podCIDRs[0]: Invalid value: 10.85: must be a string; put it in quotes"],
            id="an entry of a wrong type counts as an entry",
        ),
        pytest.param(
            ipam("2001:db8:85a3:1::/104"),
            ["spec.ipam.podCIDRs[0]: Too long: must have at most 18 characters"],
            id="a CIDR that is too long",
        ),
        pytest.param(
            ipam(POOL, maskSize=15),
            ["spec.ipam.maskSize: Invalid value: 15: must be at least 16"],
            id="too short a mask",
        ),
        pytest.param(
            ipam(POOL, maskSize=30), ["spec.ipam.maskSize: Invalid value: 30: must be at most 29"], id="too long a mask"
        ),
        pytest.param(
            ipam(POOL, maskSize="25"),
            ['spec.ipam.maskSize: Invalid value: "25": must be an integer'],
            id="a mask in quotes",
        ),
        pytest.param(
            {"networks": {"nodeCIDRs": "10.80.0.0/16"}},
            ['spec.networks.nodeCIDRs: Invalid value: "10.80.0.0/16": must be a list'],
            id="a string for a list",
        ),
        pytest.param({"values": [1]}, ["spec.values: Invalid value: a list: must be a map"], id="a list of values"),
        pytest.param({"chart": "x"}, ['spec.chart: Invalid value: "x": must be a map'], id="a string for a map"),
        pytest.param(
            {"suspend": 1}, ["spec.suspend: Invalid value: 1: must be true or false"], id="a number for a boolean"
        ),
        pytest.param(
            {"deletionPolicy": "Delete"},
            ['spec.deletionPolicy: Unsupported value: "Delete": supported values: "Retain", "Uninstall"'],
            id="an unsupported policy",
        ),
        pytest.param(
            {"upgrade": {"via": [{"version": "1.18"}]}},
            [f'spec.upgrade.via[0].version: Invalid value: "1.18": {VERSION}'],
            id="a format inside a list",
        ),
        pytest.param(
            {"upgrade": {"rollout": {"soak": "30", "groupBy": ""}, "preflight": {"timeout": 20}}},
            [
                "spec.upgrade.preflight.timeout: Invalid value: 20: must be a duration such as 30s, 10m or 1h30m",
                'spec.upgrade.rollout.groupBy: Invalid value: "": must not be empty',
                'spec.upgrade.rollout.soak: Invalid value: "30": must be a duration such as 30s, 10m or 1h30m',
            ],
            id="not a duration",
        ),
        pytest.param(
            {"chart": {"digest": DIGEST * 9}},
            [f'spec.chart.digest: Invalid value: "{(DIGEST * 9)[: MAX_VALUE_LENGTH - 3]}…": {DIGEST_FORMAT}'],
            id="a long value is cut",
        ),
        pytest.param(
            {"\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}": "\x1b[31m"},
            ["spec.\\u001b[31m\\u202e: Unknown field; remove it"],
            id="control characters are escaped",
        ),
    ],
)
def test_schema_errors(edit: dict[str, Any], expected: list[str]) -> None:
    assert messages(a_raw_spec() | edit) == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [("masksize", "maskSize"), ("mask_size", "maskSize"), ("mask-size", "maskSize"), ("maskSise", "maskSize")],
)
def test_a_misspelled_field_is_reported_once(written: str, meant: str) -> None:
    spec = a_raw_spec(ipam={"podCIDRs": [POOL], written: MASK})

    assert messages(spec) == [f"spec.ipam.{written}: Unknown field; did you mean spec.ipam.{meant}?"]


def test_an_unknown_field_does_not_hide_a_missing_one() -> None:
    assert messages(a_raw_spec(ipam={"podCIDRs": [POOL], "operator": {}})) == [
        "spec.ipam.maskSize: Required value",
        "spec.ipam.operator: Unknown field; remove it",
    ]


def test_python_names_are_not_field_names() -> None:
    assert messages(a_raw_spec(allow_unsupported=True)) == [
        "spec.allow_unsupported: Unknown field; did you mean spec.allowUnsupported?"
    ]


def test_a_missing_spec() -> None:
    assert messages(None) == ["spec: Required value"]


@pytest.mark.parametrize("spec", [[], "version", 1], ids=["a list", "a string", "a number"])
def test_a_spec_that_is_not_a_map_is_one_error(spec: object) -> None:
    (only,) = messages(spec)

    assert only.startswith("spec: Invalid value: ")
    assert only.endswith(": must be a map")


TOO_DEEP = "spec: is nested too deeply to be parsed; remove a level"


@pytest.mark.parametrize("levels", [300, 3000])
def test_nesting_that_is_too_deep(levels: int) -> None:
    assert messages(a_raw_spec(resources={"agent": {"x": nested(levels)}})) == [TOO_DEEP]
    assert messages(nested(levels)) == [TOO_DEEP]


@pytest.mark.parametrize("levels", [300, 3000])
def test_deep_values_are_left_to_their_rule_and_hide_no_other_error(levels: int) -> None:
    values = {"debug": nested(levels)}

    assert messages(a_raw_spec(values=values)) == []
    assert messages(a_raw_spec(values=values, suspend=1)) == ["spec.suspend: Invalid value: 1: must be true or false"]


def test_an_unpaired_surrogate() -> None:
    assert messages(a_raw_spec(values={"x": "\ud800"})) == [
        "spec: contains an unpaired surrogate, which is not a character; remove it"
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
def test_null_means_not_set(spec: dict[str, Any]) -> None:
    """The API server drops nulls before validation."""
    assert schema_errors(a_raw_spec() | spec) == ()


def test_null_in_a_list_is_an_entry() -> None:
    assert messages(a_raw_spec() | ipam(POOL, None)) == ["spec.ipam.podCIDRs[1]: Invalid value: null: must be a string"]


def test_the_number_of_errors_is_limited() -> None:
    unknown = {f"unknown{number}": number for number in range(10_000)}

    assert len(schema_errors(a_raw_spec() | unknown)) == MAX_ERRORS
