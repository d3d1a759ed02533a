"""Where an object is not what it would be: at what was released, and nowhere else."""

import asyncio
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.client import ApiError
from cilium_hybrid.adapters.kube.drift import differences, unlike
from cilium_hybrid.plan.observation import Difference

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


CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"debug": "false"}}


class Answers:
    """An API server that has an answer to each of the two calls."""

    def __init__(self, live: Any, would_be: Any) -> None:
        self._live, self._would_be = live, would_be

    async def get(self, _: str) -> Any:
        return _given(self._live)

    async def apply(self, *_: Any, dry_run: bool, force: bool) -> Any:
        assert dry_run
        assert not force
        return _given(self._would_be)


def _given(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def an_object(debug: str, version: str | None = "1") -> Any:
    metadata = {"name": "a"} | ({} if version is None else {"resourceVersion": version})
    return {**CONFIG, "metadata": metadata, "data": {"debug": debug}}


@pytest.mark.parametrize(
    ("live", "would_be", "found"),
    [
        pytest.param(an_object("true"), an_object("false"), True, id="it differs"),
        pytest.param(an_object("true"), an_object("false", "2"), False, id="it was changed between the looks"),
        pytest.param(an_object("true"), an_object("false", None), False, id="it was deleted between the looks"),
        pytest.param(an_object("true"), ApiError(403, "no"), False, id="a policy refuses it"),
    ],
)
def test_what_changes_while_it_is_looked_at_is_looked_at_again(live: Any, would_be: Any, found: bool) -> None:
    client: Any = Answers(live, would_be)
    expected = (Difference("ConfigMap kube-system/a", (".data.debug",)),) if found else ()

    assert asyncio.run(differences(client, [CONFIG])) == expected


def test_an_object_that_may_not_be_seen_leaves_the_answer_open() -> None:
    client: Any = Answers(ApiError(403, "no"), None)

    with pytest.raises(ApiError):
        asyncio.run(differences(client, [CONFIG]))
