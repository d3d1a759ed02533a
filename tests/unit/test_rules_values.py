from typing import Any

import pytest
from hypothesis import given, settings

from builders import a_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.values import helm_values
from cilium_hybrid.rules.values import OWNED_PATHS, owned_paths_are_left_alone
from strategies import chart_values


def refused(values: dict[str, Any]) -> list[str]:
    return [broken.path.removeprefix("spec.values.") for broken in owned_paths_are_left_alone(a_spec(values=values))]


def nested(path: str, value: object) -> dict[str, Any]:
    """The values that set one path; the name of an annotation holds dots of its own."""
    head, _, rest = path.partition(".")
    if not rest:
        return {head: value}
    return {head: {rest: value} if head == "podAnnotations" else nested(rest, value)}


@pytest.mark.parametrize("path", OWNED_PATHS)
@pytest.mark.parametrize("value", [None, "x", [], {}, {"x": 1}], ids=["null", "a string", "a list", "a map", "more"])
def test_every_owned_path_is_refused_by_name(path: str, value: object) -> None:
    assert refused(nested(path, value)) == [path]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"hubble": {"enabled": True}, "debug": None}, [], id="what the operator does not own"),
        pytest.param({"operator": {"replicas": 1}}, [], id="beside owned paths"),
        pytest.param({"operator": {}}, [], id="an empty parent"),
        pytest.param({"operatorAffinity": {}}, [], id="a name that only begins like one"),
        pytest.param({"hubble": {"affinity": {}}}, [], id="the same name elsewhere"),
        pytest.param({"podAnnotations": {"example.com/team": "net"}}, [], id="another annotation"),
        pytest.param(
            {"loadBalancer": None}, ["loadBalancer.serviceTopology"], id="null in the place of a parent erases it"
        ),
        pytest.param({"loadBalancer": "x"}, ["loadBalancer.serviceTopology"], id="a string in the place of a parent"),
        pytest.param(
            {"operator": {"unmanagedPodWatcher": None}},
            ["operator.unmanagedPodWatcher.restart"],
            id="null in the place of an inner parent",
        ),
        pytest.param(
            {"ipam": {"mode": "kubernetes"}, "envoy": {"enabled": True}},
            ["envoy", "ipam"],
            id="each is named",
        ),
    ],
)
def test_values(values: dict[str, Any], expected: list[str]) -> None:
    assert refused(values) == expected


def test_a_refusal_says_what_to_write_instead() -> None:
    (broken,) = owned_paths_are_left_alone(a_spec(values={"ipam": {}}))

    assert broken.reason is Reason.INVALID_VALUES
    assert str(broken) == "spec.values.ipam: cannot be set here: write spec.ipam"


OWNED = helm_values(a_spec())


def holds(values: object, expected: object) -> bool:
    """Whether everything in `expected` is in `values`, unchanged; maps may hold more."""
    if isinstance(expected, dict) and isinstance(values, dict):
        return all(key in values and holds(values[key], value) for key, value in expected.items())
    return values == expected and type(values) is type(expected)


@settings(max_examples=150)
@given(chart_values())
def test_no_values_whatever_override_what_the_operator_owns(values: dict[str, Any]) -> None:
    if refused(values):
        return
    made = helm_values(a_spec(values=values))
    expected = {key: value for key, value in OWNED.items() if key != "podAnnotations"}

    assert holds(made, expected)
    for closed in ("affinity", "ipam", "envoy"):
        assert made[closed] == OWNED[closed]
    assert "resources" not in made
    assert "resources" not in made["operator"]
    assert made["podAnnotations"]["ciliumhybrid.io/config-digest"].startswith("sha256:")
