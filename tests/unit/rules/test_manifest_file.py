from typing import Any

import pytest

from builders import a_raw_spec
from cilium_hybrid.rules.manifest_file import is_ciliumhybrid, validate_manifest

API, KIND, META = "ciliumhybrid.io/v1alpha1", "CiliumHybrid", {"name": "default"}


def refused(**edit: Any) -> list[str]:
    manifest = {"apiVersion": API, "kind": KIND, "metadata": META, "spec": a_raw_spec()} | edit
    verdict = validate_manifest({key: value for key, value in manifest.items() if value != "absent"})
    return [str(violation) for violation in verdict.refusals]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param({}, [], id="nothing is wrong"),
        pytest.param({"status": {"phase": "Ready"}}, [], id="what kubectl get printed"),
        pytest.param({"metadata": META | {"labels": {"a": "b"}}}, [], id="labels"),
        pytest.param({"apiVersion": "ciliumhybrid.io/v1"}, ['apiVersion: is "ciliumhybrid.io/v1": write ' + API]),
        pytest.param({"apiVersion": "absent"}, [f"apiVersion: is missing: write {API}"], id="no apiVersion"),
        pytest.param({"kind": "CiliumHybird"}, ['kind: is "CiliumHybird": write CiliumHybrid'], id="a slip"),
        pytest.param(
            {"metadata": {"name": "prod"}},
            ['metadata.name: is "prod", and a cluster has one CNI: write default'],
            id="another name",
        ),
        pytest.param({"metadata": "absent"}, ["metadata.name: is missing: write default"], id="no metadata"),
        pytest.param({"metadata": []}, ["metadata.name: is missing: write default"], id="a list for metadata"),
        pytest.param({"sepc": {}}, ["sepc: is no field of CiliumHybrid: did you mean spec?"], id="a field in error"),
        pytest.param({"zzz": {}}, ["zzz: is no field of CiliumHybrid: take it out"], id="a field like none"),
        pytest.param({"spec": "absent"}, ["spec: is required and missing: add it"], id="no spec"),
        pytest.param({"spec": []}, ["spec: is a list: write a map"], id="a list for a spec"),
        pytest.param(
            {"kind": "x", "metadata": {}, "spec": None},
            [
                'kind: is "x": write CiliumHybrid',
                "metadata.name: is missing: write default",
                "spec: is required and missing: add it",
            ],
            id="each is named",
        ),
    ],
)
def test_what_is_wrong_around_a_spec(edit: dict[str, Any], expected: list[str]) -> None:
    assert refused(**edit) == expected


@pytest.mark.parametrize(
    ("body", "managed"),
    [
        pytest.param({"apiVersion": API, "kind": KIND}, True, id="it is one"),
        pytest.param({"apiVersion": API, "kind": "CiliumHybird"}, True, id="of another kind"),
        pytest.param({"kind": KIND}, True, id="of no group"),
        pytest.param({"apiVersion": "v1", "kind": "ConfigMap", "data": {KIND: API}}, False, id="it speaks of one"),
        pytest.param([API, KIND], False, id="a list"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_whose_a_manifest_is(body: object, managed: bool) -> None:
    assert is_ciliumhybrid(body) is managed
