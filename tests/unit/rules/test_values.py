import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import a_lenient_spec, a_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.values import helm_values
from cilium_hybrid.rules.rule import all_violations
from cilium_hybrid.rules.values import (
    MAX_BYTES,
    MAX_DEPTH,
    OWNED_PATHS,
    SUPPORTED_VALUES,
    UNMANAGED_FEATURES,
    VALUES_RULES,
    VALUES_WARNINGS,
)
from strategies import chart_values


def broken(values: object, **spec: Any) -> list[str]:
    found = all_violations(VALUES_RULES, a_lenient_spec(values=values, **spec))
    assert all(violation.reason is Reason.INVALID_VALUES for violation in found)
    return [violation.path.removeprefix("spec.values.") for violation in found]


def nested(path: str, value: object) -> dict[str, Any]:
    """The values that set one path; the name of an annotation holds dots of its own."""
    head, _, rest = path.partition(".")
    if not rest:
        return {head: value}
    return {head: {rest: value} if head == "podAnnotations" else nested(rest, value)}


@pytest.mark.parametrize("path", OWNED_PATHS)
@pytest.mark.parametrize(
    "value", [None, "x", [], {}, {"x": 1}], ids=["null", "a string", "an empty list", "an empty map", "a map"]
)
@pytest.mark.parametrize("allow", [False, True], ids=["", "with allowUnsupported"])
def test_every_owned_path_is_refused(path: str, value: object, allow: bool) -> None:
    assert broken(nested(path, value), allowUnsupported=allow) == [path]


@pytest.mark.parametrize("path", UNMANAGED_FEATURES)
def test_an_unmanaged_feature_can_be_disabled_and_not_enabled(path: str) -> None:
    assert [broken(nested(path, harmless)) for harmless in UNMANAGED_FEATURES[path]] == [[]] * len(
        UNMANAGED_FEATURES[path]
    )
    values: tuple[object, ...] = (True, "true", None, 1, {})
    for value in values:
        assert path in broken(nested(path, value))


@pytest.mark.parametrize("path", SUPPORTED_VALUES)
def test_unsupported_values_are_refused_without_allow_unsupported(path: str) -> None:
    assert [broken(nested(path, supported)) for supported in SUPPORTED_VALUES[path]] == [[]] * len(
        SUPPORTED_VALUES[path]
    )
    values: tuple[object, ...] = ("another", 7, 0, 1, [])
    for value in values:
        assert broken(nested(path, value)) == [path]
        assert broken(nested(path, value), allowUnsupported=True) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"hubble": {"enabled": True}, "debug": None}, [], id="paths that the operator does not own"),
        pytest.param({"operator": {"replicas": 1}}, [], id="next to owned paths"),
        pytest.param({"operator": {}}, [], id="an empty parent"),
        pytest.param({"operatorAffinity": {}}, [], id="a name with the same prefix"),
        pytest.param({"hubble": {"affinity": {}}}, [], id="the same name elsewhere"),
        pytest.param({"ipam.mode": "kubernetes"}, [], id="a dotted key, which is a name to Helm"),
        pytest.param({"podAnnotations": {"example.com/team": "net"}}, [], id="another annotation"),
        pytest.param({"operator": None}, ["operator"], id="null instead of a map is reported once"),
        pytest.param({"loadBalancer": "x"}, ["loadBalancer"], id="a string instead of a map"),
        pytest.param({"podAnnotations": None}, ["podAnnotations"], id="null instead of the annotations"),
        pytest.param({"bgpControlPlane": True}, ["bgpControlPlane"], id="a boolean, as in older AWS documentation"),
        pytest.param(
            {"operator": {"unmanagedPodWatcher": None}},
            ["operator.unmanagedPodWatcher"],
            id="null instead of a nested map",
        ),
        pytest.param(
            {"ipam": {"mode": "kubernetes"}, "ipv6": {"enabled": True}, "envoy": {"enabled": True}},
            ["ipam", "envoy.enabled", "ipv6.enabled"],
            id="every value is reported",
        ),
        pytest.param({"vtep": {"enabled": True}, "l7Proxy": False}, [], id="VTEP as AWS documents it"),
        pytest.param({"vtep": {"enabled": True}}, ["vtep.enabled"], id="VTEP with the proxy"),
    ],
)
def test_values(values: dict[str, Any], expected: list[str]) -> None:
    assert broken(values) == expected


@pytest.mark.parametrize("name", ["ingressController", "gatewayAPI"])
@pytest.mark.parametrize(
    ("version", "more", "times"),
    [
        pytest.param("1.18.8-1", {}, 1, id="before 1.19"),
        pytest.param("1.19.4-1", {}, 2, id="from 1.19 on"),
        pytest.param("1.19.4-1", {"kubeProxyReplacement": "true"}, 1, id="from 1.19 on, with kube-proxy replaced"),
        pytest.param("1.18.8-1", {"vtep": {"enabled": True}, "l7Proxy": False}, 2, id="together with VTEP"),
        pytest.param("nonsense", {}, 1, id="without a valid version"),
    ],
)
def test_ingress_and_gateway(name: str, version: str, more: dict[str, Any], times: int) -> None:
    found = broken({name: {"enabled": True}} | more, version=version)

    # One for the unmanaged feature, and one for each unmet requirement.
    assert found.count(f"{name}.enabled") == times


UNMANAGED = "remove it, because this version of the operator does not manage this feature"
ALLOW = "remove it, or set spec.allowUnsupported to true"


def test_the_message_names_the_value_and_the_fix() -> None:
    values = {"ipam": {}, "routingMode": "native", "ingressController": {"enabled": True}}
    messages = [str(violation) for violation in all_violations(VALUES_RULES, a_lenient_spec(values=values))]

    assert messages == [
        "spec.values.ipam: cannot be set in spec.values; use spec.ipam",
        f"spec.values.ingressController.enabled: is true; {UNMANAGED}",
        f'spec.values.routingMode: is "native", which AWS does not support on hybrid nodes; {ALLOW}',
    ]


def test_a_quoted_boolean() -> None:
    values = {"bgpControlPlane": {"enabled": "false"}, "ipv6": {"enabled": "false"}, "cni": {"exclusive": "true"}}
    unquoted = "and the chart treats every string as true; remove the quotes"

    assert [str(violation) for violation in all_violations(VALUES_RULES, a_lenient_spec(values=values))] == [
        f'spec.values.bgpControlPlane.enabled: is "false", {unquoted}',
        f'spec.values.cni.exclusive: is "true", {unquoted}',
        f'spec.values.ipv6.enabled: is "false", {unquoted}',
    ]


def test_the_size_of_values_is_limited() -> None:
    room = MAX_BYTES - len(json.dumps({"debug": ""}))

    assert broken({"debug": "x" * room}) == []
    assert broken({"debug": "x" * (room + 1)}) == ["spec.values"]


def test_the_depth_of_values_is_limited() -> None:
    deep: Any = 1
    found = {}
    for level in range(1, 3000):
        # `values` itself is the first level.
        found[level] = broken({"debug": deep}) if level in {MAX_DEPTH, MAX_DEPTH + 1, 2999} else None
        deep = [deep] if level % 2 else {"x": deep}

    assert found[MAX_DEPTH] == []
    assert found[MAX_DEPTH + 1] == found[2999] == ["spec.values"]


def test_hubble_is_accepted_with_a_warning() -> None:
    warned = all_violations(VALUES_WARNINGS, a_lenient_spec(values={"hubble": {"relay": {"enabled": True}}}))

    assert [violation.path for violation in warned] == ["spec.values.hubble.relay.enabled"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = st.sampled_from(["extraConfig", "extraArgs", "extraEnv", "operator", "envoy", "hubble", "vtep", "l7Proxy"])


@given(st.dictionaries(PLACES | st.text(max_size=5), JSON, max_size=4), st.booleans())
def test_any_values_can_be_validated(values: dict[str, Any], allow: bool) -> None:
    spec = a_lenient_spec(values=values, allowUnsupported=allow)

    assert all(violation.fix for violation in all_violations((*VALUES_RULES, *VALUES_WARNINGS), spec))


OWNED = helm_values(a_spec())


def holds(values: object, expected: object) -> bool:
    """Whether everything in `expected` is in `values`, unchanged; maps may hold more."""
    if isinstance(expected, dict) and isinstance(values, dict):
        return all(key in values and holds(values[key], value) for key, value in expected.items())
    return values == expected and type(values) is type(expected)


@settings(max_examples=150)
@given(chart_values())
def test_accepted_values_never_override_what_the_operator_owns(values: dict[str, Any]) -> None:
    if broken(values, allowUnsupported=True):
        return
    made = helm_values(a_spec(values=values))
    expected = {key: value for key, value in OWNED.items() if key != "podAnnotations"}

    assert holds(made, expected)
    for closed in ("affinity", "ipam"):
        assert made[closed] == OWNED[closed]
    assert "resources" not in made
    assert "resources" not in made["operator"]
    assert made["podAnnotations"]["ciliumhybrid.io/config-digest"].startswith("sha256:")
