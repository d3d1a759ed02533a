"""Every input has an evaluation: whatever JSON the spec holds, the operator reports it instead of failing."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import a_node, a_raw_spec, an_observation
from cilium_hybrid.api.v1alpha1 import SPEC_SCHEMA
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.values import OWNED_PATHS, SUPPORTED_VALUES, UNMANAGED_FEATURES
from unit.plan.stepping import Core

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
VALUE_PATHS = sorted({*OWNED_PATHS, *UNMANAGED_FEATURES, *SUPPORTED_VALUES, "extraConfig", "vtep.enabled", "l7Proxy"})


def _paths(schema: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [above] if above else []
    for name, below in schema.get("properties", {}).items():
        found += _paths(below, (*above, name))
    return found


PATHS = st.sampled_from(
    [*_paths(SPEC_SCHEMA), *(("values", *path.split(".")) for path in VALUE_PATHS), ("values", "extraConfig", "ipam")]
)


def with_value(raw: Any, path: tuple[str, ...], value: Any) -> Any:
    """The same JSON with another value at a path."""
    if not path:
        return value
    below = raw if isinstance(raw, dict) else {}
    return {**below, path[0]: with_value(below.get(path[0]), path[1:], value)}


@st.composite
def raw_specs(draw: st.DrawFn) -> Any:
    raw: Any = a_raw_spec()
    for _ in range(draw(st.integers(1, 4))):
        raw = with_value(raw, draw(PATHS), draw(JSON))
    return raw


def an_installed_observation() -> Observation:
    core = Core(an_observation(nodes=[a_node()]))
    core.settle()
    return core.observation


INSTALLED = an_installed_observation()


@settings(max_examples=300, deadline=None)
@given(raw_specs(), st.booleans())
def test_a_spec_of_any_json_is_evaluated(raw: Any, installed: bool) -> None:
    core = Core(INSTALLED if installed else an_observation(nodes=[a_node()]))
    core.raw = raw

    evaluation = core.evaluate()

    assert evaluation.status.conditions


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(SPEC_SCHEMA["properties"])), JSON))
def test_a_deleted_resource_of_any_json_is_evaluated(raw: Any) -> None:
    core = Core(INSTALLED)
    core.raw, core.deleting, core.finalizers = raw, True, ("ciliumhybrid.io/finalizer",)

    assert core.evaluate().status.conditions
