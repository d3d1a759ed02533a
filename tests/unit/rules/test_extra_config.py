from typing import Any

import pytest

from builders import a_lenient_spec
from cilium_hybrid.rules.extra_config import nothing_is_set_from_the_side


def refused(values: dict[str, Any], **spec: Any) -> list[str]:
    found = nothing_is_set_from_the_side(a_lenient_spec(values=values, **spec))
    return [violation.path.removeprefix("spec.values.") for violation in found]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"extraConfig": {"bpf-map-dynamic-size-ratio": "0.005"}}, [], id="a key that nobody owns"),
        pytest.param({"extraConfig": {"ipam": "kubernetes"}}, ["extraConfig.ipam"], id="a key of the operator"),
        pytest.param(
            {"extraConfig": {"enable-ipv6": "true"}}, ["extraConfig.enable-ipv6"], id="one AWS does not support"
        ),
        pytest.param(
            {"extraConfig": {"IPAM": "x"}}, ["extraConfig.IPAM"], id="in capitals, which Cilium reads as well"
        ),
        pytest.param({"extraArgs": ["--debug", "--bpf-root=/x"]}, [], id="arguments that nobody owns"),
        pytest.param({"extraArgs": ["--ipam=kubernetes"]}, ["extraArgs[0]"], id="an argument with its value"),
        pytest.param(
            {"extraArgs": ["--debug", "--ipam", "kubernetes"]}, ["extraArgs[1]"], id="an argument before its value"
        ),
        pytest.param({"extraArgs": ["--ipam kubernetes"]}, ["extraArgs[0]"], id="an argument and its value in one"),
        pytest.param({"extraArgs": ["ipam"]}, [], id="a value that is named like one"),
        pytest.param({"extraArgs": ["--routing-mode=native"]}, ["extraArgs[0]"], id="an argument AWS does not support"),
        pytest.param({"extraEnv": [{"name": "GOGC", "value": "50"}]}, [], id="a variable that nobody owns"),
        pytest.param(
            {"extraEnv": [{"name": "CILIUM_CLUSTER_POOL_IPV4_CIDR", "value": "x"}]}, ["extraEnv[0]"], id="a variable"
        ),
        pytest.param(
            {"extraEnv": [{"name": "KUBERNETES_SERVICE_HOST", "valueFrom": {}}]}, ["extraEnv[0]"], id="the API server"
        ),
        pytest.param(
            {"operator": {"extraArgs": ["--cluster-pool-ipv4-mask-size=26"], "extraEnv": [{"name": "CILIUM_IPAM"}]}},
            ["operator.extraArgs[0]", "operator.extraEnv[0]"],
            id="of Cilium's operator",
        ),
        pytest.param(
            {"extraConfig": 1, "extraArgs": {"--ipam": 1}, "extraEnv": "x", "operator": [], "envoy": None},
            [],
            id="what the chart's schema refuses",
        ),
        pytest.param({"extraArgs": [1, None, {}], "extraEnv": [1, None, {}, []]}, [], id="odd entries"),
    ],
)
def test_the_ways_around(values: dict[str, Any], expected: list[str]) -> None:
    assert refused(values) == expected


def test_what_aws_does_not_support_can_be_allowed_and_what_the_operator_owns_cannot() -> None:
    values = {"extraConfig": {"ipam": "kubernetes", "enable-ipv6": "true"}}

    assert refused(values, allowUnsupported=True) == ["extraConfig.ipam"]
