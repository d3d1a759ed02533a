from typing import Any

import pytest
from pydantic import ValidationError

from builders import DIGEST, MASK, POOL, VERSION, a_raw_spec, a_spec
from cilium_hybrid.api.v1alpha1 import DEFAULT_CHART, parse_spec


def test_the_smallest_spec_gets_every_default() -> None:
    spec = parse_spec({"version": VERSION, "ipam": {"podCIDRs": [POOL], "maskSize": MASK}})

    assert spec.chart.ref == DEFAULT_CHART
    assert spec.chart.digest is None
    assert spec.masquerade is True
    assert spec.values == {}
    assert spec.suspend is False
    assert (spec.resources.agent, spec.resources.operator) == (None, None)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        pytest.param({"version": "latest"}, "version", id="no version"),
        pytest.param({"version": 1.17}, "version", id="a version that YAML took for a number"),
        pytest.param({"version": VERSION + "0" * 24}, "version", id="an endless version"),
        pytest.param({"ipam": {"podCIDRs": [], "maskSize": 25}}, "ipam.podCIDRs", id="no pod CIDR"),
        pytest.param({"ipam": {"podCIDRs": [POOL] * 16, "maskSize": 25}}, "ipam.podCIDRs", id="16 pod CIDRs"),
        pytest.param({"ipam": {"podCIDRs": [POOL, "1" * 19], "maskSize": 25}}, "ipam.podCIDRs.1", id="19 characters"),
        pytest.param({"ipam": {"podCIDRs": POOL, "maskSize": 25}}, "ipam.podCIDRs", id="a string for a list"),
        pytest.param({"ipam": {"podCIDRs": [POOL], "maskSize": 15}}, "ipam.maskSize", id="a mask of 15"),
        pytest.param({"ipam": {"podCIDRs": [POOL], "maskSize": 30}}, "ipam.maskSize", id="a mask of 30"),
        pytest.param({"ipam": {"podCIDRs": [POOL], "maskSize": "25"}}, "ipam.maskSize", id="a mask in quotes"),
        pytest.param({"ipam": {"podCIDRs": [POOL]}}, "ipam.maskSize", id="no mask"),
        pytest.param({"chart": {"ref": "https://example/cilium"}}, "chart.ref", id="a chart by https"),
        pytest.param({"chart": {"ref": "oci://example/cilium:1.17.9"}}, "chart.ref", id="a reference with a tag"),
        pytest.param({"chart": {"ref": "charts/cilium"}}, "chart.ref", id="a relative path"),
        pytest.param({"chart": {"digest": DIGEST.upper()}}, "chart.digest", id="a digest in capitals"),
        pytest.param({"chart": {"tag": "x"}}, "chart.tag", id="an unknown field of the chart"),
        pytest.param({"suspend": "true"}, "suspend", id="a boolean in quotes"),
        pytest.param({"masquerade": 1}, "masquerade", id="a number for a boolean"),
        pytest.param({"values": []}, "values", id="a list of values"),
        pytest.param({"Values": {}}, "Values", id="an unknown field"),
    ],
)
def test_a_fault_of_form_is_named_by_its_path(edit: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as refused:
        parse_spec(a_raw_spec() | edit)

    assert {".".join(map(str, error["loc"])) for error in refused.value.errors()} == {fault}


@pytest.mark.parametrize("spec", [None, [], "version", {}], ids=["nothing", "a list", "a string", "an empty map"])
def test_what_is_no_spec_at_all_is_refused(spec: object) -> None:
    with pytest.raises(ValidationError):
        parse_spec(spec)


@pytest.mark.parametrize(
    "ref",
    ["oci://public.ecr.aws/eks/cilium/cilium", "oci://127.0.0.1:5000/cilium", "/charts/cilium", "/charts/a b.tgz"],
)
def test_a_chart_is_an_oci_reference_or_an_absolute_path(ref: str) -> None:
    assert a_spec(chart={"ref": ref}).chart.ref == ref
