from typing import Any

import pytest
from pydantic import ValidationError

from builders import DIGEST, MASK, POOL, VERSION, a_raw_spec, a_spec
from cilium_hybrid.api.v1alpha1 import DEFAULT_CHART, parse_spec


def test_the_smallest_spec_has_every_default() -> None:
    spec = parse_spec({"version": VERSION, "ipam": {"podCIDRs": [POOL], "maskSize": MASK}})

    assert spec.chart.ref == DEFAULT_CHART
    assert spec.chart.digest is None
    assert spec.masquerade is True
    assert spec.values == {}
    assert spec.suspend is False
    assert (spec.resources.agent, spec.resources.operator) == (None, None)


MAX_UNAVAILABLE = "upgrade.rollout.maxUnavailable"


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        pytest.param({"version": "latest"}, "version", id="not a version"),
        pytest.param({"version": 1.17}, "version", id="a version that YAML reads as a number"),
        pytest.param({"version": VERSION + "0" * 24}, "version", id="a version of more than 24 characters"),
        pytest.param({"ipam": {"podCIDRs": [], "maskSize": 25}}, "ipam.podCIDRs", id="no pod CIDR"),
        pytest.param({"ipam": {"podCIDRs": [POOL] * 16, "maskSize": 25}}, "ipam.podCIDRs", id="16 pod CIDRs"),
        pytest.param(
            {"ipam": {"podCIDRs": [POOL, "1" * 19], "maskSize": 25}},
            "ipam.podCIDRs.1",
            id="a pod CIDR of 19 characters",
        ),
        pytest.param({"ipam": {"podCIDRs": POOL, "maskSize": 25}}, "ipam.podCIDRs", id="a string instead of a list"),
        pytest.param({"ipam": {"podCIDRs": [POOL], "maskSize": 15}}, "ipam.maskSize", id="a mask size of 15"),
        pytest.param({"ipam": {"podCIDRs": [POOL], "maskSize": 30}}, "ipam.maskSize", id="a mask size of 30"),
        pytest.param({"ipam": {"podCIDRs": [POOL], "maskSize": "25"}}, "ipam.maskSize", id="a mask size in quotes"),
        pytest.param({"ipam": {"podCIDRs": [POOL]}}, "ipam.maskSize", id="no mask size"),
        pytest.param({"chart": {"ref": "https://example/cilium"}}, "chart.ref", id="a chart with scheme https"),
        pytest.param({"chart": {"ref": "oci://example/cilium:1.17.9"}}, "chart.ref", id="a reference with a tag"),
        pytest.param({"chart": {"ref": "charts/cilium"}}, "chart.ref", id="a relative path"),
        pytest.param({"chart": {"digest": DIGEST.upper()}}, "chart.digest", id="a digest in upper case"),
        pytest.param({"chart": {"tag": "x"}}, "chart.tag", id="an unknown field of the chart"),
        *(
            pytest.param(
                {"upgrade": {"rollout": {"maxUnavailable": value}}}, MAX_UNAVAILABLE, id=f"maxUnavailable {value}"
            )
            for value in (0, 1001, True, 1.5, "1", "0%", "101%", "1.5%", "all")
        ),
        pytest.param({"suspend": "true"}, "suspend", id="a boolean in quotes"),
        pytest.param({"masquerade": 1}, "masquerade", id="a number instead of a boolean"),
        pytest.param({"values": []}, "values", id="a list instead of values"),
        pytest.param({"Values": {}}, "Values", id="an unknown field"),
    ],
)
def test_a_schema_error_has_the_path_of_the_field(edit: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as refused:
        parse_spec(a_raw_spec() | edit)

    assert {".".join(map(str, error["loc"])) for error in refused.value.errors()} == {path}


@pytest.mark.parametrize("spec", [None, [], "version", {}], ids=["null", "a list", "a string", "an empty object"])
def test_anything_but_a_spec_is_refused(spec: object) -> None:
    with pytest.raises(ValidationError):
        parse_spec(spec)


@pytest.mark.parametrize(
    "ref",
    ["oci://public.ecr.aws/eks/cilium/cilium", "oci://127.0.0.1:5000/cilium", "/charts/cilium", "/charts/a b.tgz"],
)
def test_a_chart_is_an_oci_reference_or_an_absolute_path(ref: str) -> None:
    assert a_spec(chart={"ref": ref}).chart.ref == ref
