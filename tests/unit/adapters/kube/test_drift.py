"""Differences between live objects and released manifests: only released fields count."""

import asyncio
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.client import ApiError
from cilium_hybrid.adapters.kube.drift import changed_fields, differences
from cilium_hybrid.plan.observation import Difference

A = {"name": "a", "image": "x"}
B = {"name": "b", "image": "x"}


@pytest.mark.parametrize(
    ("released", "live", "applied", "expected"),
    [
        pytest.param({"a": 1}, {"a": 1}, {"a": 1}, [], id="equal"),
        pytest.param({"cpu": "0.1"}, {"cpu": "100m"}, {"cpu": "100m"}, [], id="normalized by the API server"),
        pytest.param({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 3}, [], id="field that was not released"),
        pytest.param({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}, [".a.b"], id="value removed"),
        pytest.param({"a": {"b": 1}}, {}, {"a": {"b": 1}}, [".a"], id="map removed"),
        pytest.param({"a": None}, {"a": {"b": 1}}, {"a": {}}, [], id="null was released"),
        pytest.param({"a": {}}, {"a": {"b": 1}}, {"a": {}}, [], id="empty map was released"),
        pytest.param([A, B], [B], [A, B], ['[name="a"]'], id="named item removed"),
        pytest.param([A, B], [B, A], [A, B], [], id="named items reordered"),
        pytest.param([A], [A, B], [A, B], [], id="item that was not released"),
        pytest.param([A], [{**A, "image": "y"}], [A], ['[name="a"].image'], id="named item changed"),
        pytest.param(["x", "y"], ["y"], ["x", "y"], [""], id="value removed from a list"),
        pytest.param([A], None, [A], [""], id="list removed"),
        pytest.param([A, B], [{"of": "another"}], [A, B], [""], id="items without names"),
    ],
)
def test_paths_of_changed_fields(released: Any, live: Any, applied: Any, expected: list[str]) -> None:
    assert list(changed_fields(released, live, applied)) == expected


CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"debug": "false"}}


class FakeClient:
    """An API server with a fixed answer, or error, for each of the two requests."""

    def __init__(self, live: Any, applied: Any) -> None:
        self._live, self._applied = live, applied

    async def get(self, _: str) -> Any:
        return _answer(self._live)

    async def apply(self, *_: Any, dry_run: bool, force: bool) -> Any:
        assert dry_run
        assert not force
        return _answer(self._applied)


def _answer(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def an_object(debug: str, version: str | None = "1") -> Any:
    metadata = {"name": "a"} | ({} if version is None else {"resourceVersion": version})
    return {**CONFIG, "metadata": metadata, "data": {"debug": debug}}


@pytest.mark.parametrize(
    ("live", "applied", "found"),
    [
        pytest.param(an_object("true"), an_object("false"), True, id="differs"),
        pytest.param(an_object("true"), an_object("false", "2"), False, id="changed between the requests"),
        pytest.param(an_object("true"), an_object("false", None), False, id="deleted between the requests"),
        pytest.param(an_object("true"), ApiError(403, "no"), False, id="rejected by a policy"),
    ],
)
def test_an_object_that_changes_during_the_comparison_is_left_to_the_next_one(
    live: Any, applied: Any, found: bool
) -> None:
    client: Any = FakeClient(live, applied)
    expected = (Difference("ConfigMap kube-system/a", (".data.debug",)),) if found else ()

    assert asyncio.run(differences(client, [CONFIG])) == expected


def test_a_forbidden_object_fails_the_comparison() -> None:
    client: Any = FakeClient(ApiError(403, "no"), None)

    with pytest.raises(ApiError):
        asyncio.run(differences(client, [CONFIG]))
