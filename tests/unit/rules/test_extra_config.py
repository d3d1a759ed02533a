from typing import Any

import pytest

from builders import a_lenient_spec
from cilium_hybrid.rules.extra_config import extra_config_sets_no_restricted_keys


def refused(values: dict[str, Any], **spec: Any) -> list[str]:
    found = extra_config_sets_no_restricted_keys(a_lenient_spec(values=values, **spec))
    return [violation.path.removeprefix("spec.values.") for violation in found]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"extraConfig": {"bpf-map-dynamic-size-ratio": "0.005"}}, [], id="an unrestricted key"),
        pytest.param({"extraConfig": {"ipam": "kubernetes"}}, ["extraConfig.ipam"], id="a key that the operator owns"),
        pytest.param(
            {"extraConfig": {"enable-ipv6": "true"}}, ["extraConfig.enable-ipv6"], id="a key that AWS does not support"
        ),
        pytest.param({"extraConfig": {"IPAM": "x"}}, ["extraConfig.IPAM"], id="in capitals, which Cilium accepts"),
        pytest.param({"extraArgs": ["--debug", "--bpf-root=/x"]}, [], id="unrestricted arguments"),
        pytest.param({"extraArgs": ["--ipam=kubernetes"]}, ["extraArgs[0]"], id="an argument with its value"),
        pytest.param(
            {"extraArgs": ["--debug", "--ipam", "kubernetes"]},
            ["extraArgs[1]"],
            id="an argument and its value in two entries",
        ),
        pytest.param(
            {"extraArgs": ["--ipam kubernetes"]}, ["extraArgs[0]"], id="an argument and its value in one entry"
        ),
        pytest.param({"extraArgs": ["ipam"]}, [], id="a value with the name of a key"),
        pytest.param(
            {"extraArgs": ["--routing-mode=native"]}, ["extraArgs[0]"], id="an argument that AWS does not support"
        ),
        pytest.param({"extraEnv": [{"name": "GOGC", "value": "50"}]}, [], id="an unrestricted variable"),
        pytest.param(
            {"extraEnv": [{"name": "CILIUM_CLUSTER_POOL_IPV4_CIDR", "value": "x"}]},
            ["extraEnv[0]"],
            id="a variable that the operator owns",
        ),
        pytest.param(
            {"extraEnv": [{"name": "KUBERNETES_SERVICE_HOST", "valueFrom": {}}]}, ["extraEnv[0]"], id="the API server"
        ),
        pytest.param(
            {"operator": {"extraArgs": ["--cluster-pool-ipv4-mask-size=26"], "extraEnv": [{"name": "CILIUM_IPAM"}]}},
            ["operator.extraArgs[0]", "operator.extraEnv[0]"],
            id="of the Cilium operator",
        ),
        pytest.param(
            {"extraConfig": 1, "extraArgs": {"--ipam": 1}, "extraEnv": "x", "operator": [], "envoy": None},
            [],
            id="types that the chart's schema rejects",
        ),
        pytest.param({"extraArgs": [1, None, {}], "extraEnv": [1, None, {}, []]}, [], id="entries of other types"),
    ],
)
def test_restricted_keys_in_extra_settings(values: dict[str, Any], expected: list[str]) -> None:
    assert refused(values) == expected


def test_allow_unsupported_does_not_allow_owned_keys() -> None:
    values = {"extraConfig": {"ipam": "kubernetes", "enable-ipv6": "true"}}

    assert refused(values, allowUnsupported=True) == ["extraConfig.ipam"]
