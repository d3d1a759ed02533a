"""Where an object is not what it would be: at what was released, and nowhere else."""

from typing import Any

import pytest

from cilium_hybrid.adapters.kube.drift import unlike

A = {"name": "a", "image": "x"}
B = {"name": "b", "image": "x"}


@pytest.mark.parametrize(
    ("released", "live", "would_be", "expected"),
    [
        pytest.param({"a": 1}, {"a": 1}, {"a": 1}, [], id="the same"),
        pytest.param({"cpu": "0.1"}, {"cpu": "100m"}, {"cpu": "100m"}, [], id="as the API server writes it"),
        pytest.param({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 3}, [], id="what was not released"),
        pytest.param({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}, [".a.b"], id="a value is gone"),
        pytest.param({"a": {"b": 1}}, {}, {"a": {"b": 1}}, [".a"], id="a map is gone"),
        pytest.param({"a": None}, {"a": {"b": 1}}, {"a": {}}, [], id="nothing was released"),
        pytest.param({"a": {}}, {"a": {"b": 1}}, {"a": {}}, [], id="an empty map was released"),
        pytest.param([A, B], [B], [A, B], ['[name="a"]'], id="an item is gone"),
        pytest.param([A, B], [B, A], [A, B], [], id="another order of items that have names"),
        pytest.param([A], [A, B], [A, B], [], id="an item that was not released"),
        pytest.param([A], [{**A, "image": "y"}], [A], ['[name="a"].image'], id="an item that is another"),
        pytest.param(["x", "y"], ["y"], ["x", "y"], [""], id="a list of values"),
        pytest.param([A], None, [A], [""], id="a list is gone"),
        pytest.param([A, B], [{"of": "another"}], [A, B], [""], id="items without names"),
    ],
)
def test_paths(released: Any, live: Any, would_be: Any, expected: list[str]) -> None:
    assert list(unlike(released, live, would_be)) == expected
