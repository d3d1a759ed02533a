"""The record in its ConfigMap: what is written is read, and damage costs no more than it has to."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from random import Random
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_record
from cilium_hybrid.adapters.kube.record import PLAIN_LIMIT, record, record_data
from cilium_hybrid.plan.record import Record, Rejected, RestartedNode, RolloutRecord

VERSION = "17"
NUMBERS = st.integers(0, 10**6)
# A ConfigMap cannot hold lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = {str: TEXT, int: NUMBERS, bool: st.booleans(), float: st.integers(0, 10**7).map(float), type(None): st.none()}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that occurs in the record, so that a new field is covered too."""
    origin, args = get_origin(kind), get_args(kind)
    if kind in SCALARS:
        return SCALARS[kind]
    if origin is tuple:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(TEXT, values(args[1]), max_size=3)
    if args:
        return st.one_of(*map(values, args))
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items()})


RECORDS = st.builds(
    Record,
    initial_version=st.sampled_from([None, "1.17.4", "1.18.8-1"]),
    pod_cidrs=st.lists(st.sampled_from(["10.1.0.0/16", "10.2.0.0/16", "10.85.0.0/25"]), max_size=3).map(tuple),
    mask_size=st.none() | st.integers(8, 32),
    revision=NUMBERS,
    chart_ref=TEXT,
    chart_version=TEXT,
    verified=st.none() | NUMBERS,
    verified_version=TEXT,
    rejected=st.none() | values(Rejected),
    rollout=st.none() | values(RolloutRecord),
    unlocked=st.none() | NUMBERS,
    resumed=st.none() | NUMBERS,
    handled=TEXT,
    rebuilt=st.booleans(),
    suspects_due=st.booleans(),
)
RESTARTED = RestartedNode("a", "b", "c", "d", "e", "f", True, elapsed=61.9)
FULL = replace(
    a_record(pod_cidrs=["10.1.0.0/16", "10.2.0.0/16"], revision=7, verified=6),
    rejected=Rejected(5, "sha256:x", 'the agent fails on mi-1 (crash: "x")'),
    rollout=RolloutRecord("sha256:y", nodes={"mi-1": RESTARTED}),
    unlocked=4,
    resumed=3,
    handled="2026-03-01",
    rebuilt=True,
    suspects_due=True,
)
FULL_AS_READ = replace(FULL, rollout=RolloutRecord("sha256:y", nodes={"mi-1": replace(RESTARTED, elapsed=61.0)}))


def a_raw_record(data: Any) -> dict[str, Any]:
    return {"metadata": {"name": "cilium-hybrid-applied", "resourceVersion": VERSION}, "data": data}


def read(data: Any) -> Record | None:
    found, version = record(a_raw_record(data))
    assert version == VERSION
    return found


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(written: Record) -> None:
    found = read(record_data(written))

    assert found == written
    assert found is not None
    assert found.resource_version == VERSION


def test_absent_values_have_no_key() -> None:
    assert record_data(Record()) == {"revision": "0"}
    assert read({"revision": "0"}) == Record()


def test_the_keys_of_a_full_record() -> None:
    data = record_data(FULL)

    assert len(data) == len(fields(Record)) - 1
    assert set(data) == {
        *("initialVersion", "podCIDRs", "maskSize", "revision", "chartRef", "chartVersion", "verifiedRevision"),
        *("verifiedVersion", "rejected", "rollout", "unlocked", "resumed", "handled", "rebuilt", "suspectsDue"),
    }
    assert json.loads(data["rejected"]).keys() == {"revision", "releaseDigest", "message"}


def test_times_are_stored_in_whole_seconds_and_defaults_are_left_out() -> None:
    stored = json.loads(record_data(FULL)["rollout"])
    node = dict(zip(("podUid", "nodeUid", "bootId", "kernel", "kubelet", "runtime"), "abcdef", strict=True))

    assert stored == {"configDigest": "sha256:y", "nodes": {"mi-1": node | {"healthy": True, "elapsed": 61}}}


@pytest.mark.parametrize(
    "edit",
    [
        {"initialVersion": "foo"},
        {"podCIDRs": "10.1.0.0/16 foo"},
        {"maskSize": "x"},
        {"maskSize": "33"},
        {"maskSize": "-1"},
        {"revision": "-1"},
        {"revision": ""},
        {"revision": None},
    ],
    ids=str,
)
def test_without_what_decisions_need_there_is_no_record(edit: dict[str, str | None]) -> None:
    data = record_data(FULL) | edit

    assert read({key: value for key, value in data.items() if value is not None}) is None
    assert read(None) is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("verifiedRevision", "x", {"verified": None}),
        ("rejected", "{", {"rejected": None}),
        ("rejected", "[]", {"rejected": None}),
        ("rollout", '{"configDigest": 1}', {"rollout": None}),
        ("rollout", '{"configDigest": "x", "idleFor": NaN}', {"rollout": None}),
        ("rollout", '{"configDigest": "x", "idleFor": 1e999}', {"rollout": None}),
        ("rollout", f'{{"configDigest": "x", "idleFor": {"1" * 400}}}', {"rollout": None}),
        ("rollout", '{"configDigest": "x", "settled": true}', {"rollout": None}),
        ("rollout", '{"configDigest": "x", "nodes": {"a": {}}}', {"rollout": None}),
        ("rollout", "gzip:AAAA", {"rollout": None}),
        ("rollout", "gzip:H4sIAAAAAAAA/w==", {"rollout": None}),
        ("rollout", "[" * 100_000, {"rollout": None}),
        ("unlocked", "9" * 5000, {"unlocked": None}),
        ("resumed", "-", {"resumed": None}),
        ("rebuilt", "damaged", {"rebuilt": True}),
        ("future", "x", {}),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_another_field_that_cannot_be_read_is_dropped(key: str, value: str, expected: dict[str, Any]) -> None:
    assert read(record_data(FULL) | {key: value}) == replace(FULL_AS_READ, **expected)


def test_an_older_record_is_read_without_its_rejected_revision() -> None:
    rejected = {"revision": 4, "generation": 7, "spec_digest": "sha256:x", "message": "fails on mi-1"}
    data = record_data(a_record(verified=3)) | {"rejected": json.dumps(rejected)}

    assert read(data) == a_record(verified=3)


def test_a_newer_rollout_with_more_fields_is_read() -> None:
    assert read(record_data(Record(rollout=RolloutRecord("x"))) | {"rollout": '{"configDigest": "x", "new": 1}'}) == (
        Record(rollout=RolloutRecord("x"))
    )


def test_a_rollout_of_thousands_of_nodes_fits_into_a_config_map() -> None:
    random = Random(1)  # noqa: S311 # reproducible, and no secret

    def uid() -> str:
        return str(UUID(int=random.getrandbits(128)))

    nodes = {
        f"mi-{uid()[:17]}": RestartedNode(uid(), uid(), uid(), "6.8.0-1015-aws", "v1.35.4", "containerd://2.1.4", True)
        for _ in range(5000)
    }
    written = Record(rollout=RolloutRecord("sha256:x", nodes=nodes))
    data = record_data(written)

    assert len(data["rollout"]) < 1_000_000
    assert read(data) == written
    few = replace(written, rollout=RolloutRecord("sha256:x", nodes=dict(list(nodes.items())[:100])))
    assert len(record_data(few)["rollout"]) < min(PLAIN_LIMIT, 100 * 300)
