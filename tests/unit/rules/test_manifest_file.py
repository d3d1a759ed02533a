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
        pytest.param({}, [], id="valid"),
        pytest.param({"status": {"phase": "Ready"}}, [], id="with a status, as kubectl get prints it"),
        pytest.param({"metadata": META | {"labels": {"a": "b"}}}, [], id="labels"),
        pytest.param(
            {"apiVersion": "ciliumhybrid.io/v1"},
            ['apiVersion: Invalid value: "ciliumhybrid.io/v1": must be ' + API],
            id="another version",
        ),
        pytest.param({"apiVersion": "absent"}, [f"apiVersion: Required value; use {API}"], id="no apiVersion"),
        pytest.param(
            {"kind": "CiliumHybird"},
            ['kind: Invalid value: "CiliumHybird": must be CiliumHybrid'],
            id="a misspelled kind",
        ),
        pytest.param(
            {"metadata": {"name": "prod"}},
            ['metadata.name: Invalid value: "prod": must be default, because a cluster has one CNI'],
            id="another name",
        ),
        pytest.param({"metadata": "absent"}, ["metadata.name: Required value; use default"], id="no metadata"),
        pytest.param({"metadata": []}, ["metadata.name: Required value; use default"], id="metadata is a list"),
        pytest.param({"sepc": {}}, ["sepc: Unknown field; did you mean spec?"], id="a misspelled field"),
        pytest.param({"zzz": {}}, ["zzz: Unknown field; remove it"], id="an unknown field"),
        pytest.param({"spec": "absent"}, ["spec: Required value"], id="no spec"),
        pytest.param({"spec": []}, ["spec: Invalid value: a list: must be a map"], id="spec is a list"),
        pytest.param(
            {"kind": "x", "metadata": {}, "spec": None},
            [
                'kind: Invalid value: "x": must be CiliumHybrid',
                "metadata.name: Required value; use default",
                "spec: Required value",
            ],
            id="all errors are reported",
        ),
    ],
)
def test_errors_outside_the_spec(edit: dict[str, Any], expected: list[str]) -> None:
    assert refused(**edit) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"apiVersion": API, "kind": KIND}, True, id="kind and group match"),
        pytest.param({"apiVersion": API, "kind": "CiliumHybird"}, True, id="a misspelled kind"),
        pytest.param({"kind": KIND}, True, id="no group"),
        pytest.param(
            {"apiVersion": "v1", "kind": "ConfigMap", "data": {KIND: API}}, False, id="mentions one in its data"
        ),
        pytest.param([API, KIND], False, id="a list"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_which_manifests_are_ciliumhybrids(body: object, expected: bool) -> None:
    assert is_ciliumhybrid(body) is expected
