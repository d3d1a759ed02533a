import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.cli.manifests import DEEPEST, LONGEST, Document, read_documents

OURS = "kind: CiliumHybrid\n"


def read(text: str) -> Document:
    (document,) = read_documents(text)
    return document


def faults(text: str) -> list[tuple[str, str]]:
    return [(fault.path, fault.message) for fault in read(text).faults]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: yes\nb: ~\nc: 0x10\nd: 1e3\ne: '1'\n", {"a": True, "b": None, "c": 16, "d": "1e3", "e": "1"}),
        pytest.param("at: 2026-01-02\n=: 1\n", {"at": "2026-01-02", "=": 1}, id="a date is a text to kubectl"),
        pytest.param("1: x\ntrue: y\n", {"1": "x", "true": "y"}, id="keys become texts"),
        pytest.param("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n", {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}),
        pytest.param("a: &a [1]\nb: *a\n", {"a": [1], "b": [1]}, id="an alias"),
        pytest.param("a: !!str 1.17\n", {"a": "1.17"}, id="a tag that JSON has a word for"),
        pytest.param("a: |\n  x\n   ---\n  y\n", {"a": "x\n ---\ny\n"}, id="dashes inside a text"),
    ],
)
def test_a_document_is_read_as_kubectl_reads_it(text: str, expected: dict[str, Any]) -> None:
    assert read(OURS + text).body == {"kind": "CiliumHybrid"} | expected


def test_documents_are_told_apart_and_those_of_others_are_passed_over() -> None:
    text = "# CiliumHybrid\n---\nkind: {{ .Values.kind }}\n---  # one\nkind: CiliumHybrid\n--- {kind: CiliumHybrid}\n"

    assert [(document.body, document.line) for document in read_documents(text)] == [
        (None, 1),
        ({"kind": "CiliumHybrid"}, 5),
        ({"kind": "CiliumHybrid"}, 6),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [1\n", [("-", "is no YAML: did not find expected ',' or ']' on line 3")], id="no YAML"),
        pytest.param("a: \x07\n", [("-", "is no YAML: control characters are not allowed")], id="a bell"),
        pytest.param("a: *b\n", [("-", "holds *b, which is nowhere before it, or around it")], id="an unknown alias"),
        pytest.param("a: &a [*a]\n", [("-", "holds *a, which is nowhere before it, or around it")], id="a circle"),
        pytest.param("a: 1\nb: 2\na: 3\n", [("a", "is written a second time on line 4")], id="a key twice"),
        pytest.param("a: .nan\n", [("a", 'is ".nan", which JSON cannot hold')], id="not a number"),
        pytest.param("a: 0b_\n", [("a", 'is "0b_", which JSON cannot hold')], id="a number without digits"),
        pytest.param("a: !x 1\n", [("a", 'is "1", which JSON cannot hold')], id="a tag of somebody's own"),
        pytest.param("a: !!binary aGk=\n", [("a", 'is "aGk=", which JSON cannot hold')], id="bytes"),
        pytest.param("[1]: 2\n", [("-", "has a key that is no text")], id="a list for a key"),
        pytest.param("a: {~: 2}\n", [("a", "has a key that is no text")], id="null for a key"),
        pytest.param(
            "a: {<<: 4}\n",
            [("a", "expected a mapping or list of mappings for merging, but found scalar on line 2")],
            id="a number merged",
        ),
    ],
)
def test_what_is_no_json_is_named_with_its_place(text: str, expected: list[tuple[str, str]]) -> None:
    assert faults(OURS + text) == expected


BOMB = "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for name, below in zip("bcdefgh", "abcdefg", strict=True)
)
TOO_LARGE = f"holds more than the {LONGEST} characters that the API server takes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: " + "[" * 100_000, f"is nested deeper than {DEEPEST} levels", id="brackets"),
        pytest.param("- " * 100_000 + "a", f"is nested deeper than {DEEPEST} levels", id="dashes"),
        pytest.param(f"a: &a [{'x, ' * 9}]\n{BOMB}", TOO_LARGE, id="aliases of aliases"),
        pytest.param(f"a: &a '{'x' * 100_000}'\nb: [{'*a, ' * 100}]", TOO_LARGE, id="a long text many times"),
        pytest.param("".join(f"k{n}: {n}\n" for n in range(100_000)), TOO_LARGE, id="many keys"),
        pytest.param("x" * LONGEST, f"has {LONGEST + 14} characters, and the API server takes {LONGEST}", id="long"),
    ],
)
def test_what_no_manifest_needs_is_refused_before_anything_is_made_of_it(text: str, expected: str) -> None:
    prefix = "# CiliumHybrid" if text.startswith(("- ", "x")) else OURS
    found = read(f"{prefix}{'' if text[0] == 'x' else chr(10)}{text}")

    assert found.body is None
    assert [(fault.path, fault.message) for fault in found.faults] == [("-", expected)]


def test_each_value_has_its_line_and_what_is_missing_that_of_what_is_around_it() -> None:
    document = read(
        "---\nkind: CiliumHybrid\nspec:\n  ipam:\n    podCIDRs:\n      - a\n      - b\n  values: {x.y: {z: 1}}\n"
    )
    paths = (
        "spec.ipam.podCIDRs[1]",
        "spec.ipam.podCIDRs[9]",
        "spec.ipam.maskSize",
        "spec.values.x.y.z",
        "metadata",
        "-",
    )

    assert [document.line_of(path) for path in paths] == [7, 5, 4, 8, 2, 2]


VISIBLE = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | VISIBLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(VISIBLE, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["spec", "metadata"]), JSON))
def test_json_is_read_as_it_is(body: dict[str, Any]) -> None:
    text = json.dumps(body | {"kind": "CiliumHybrid"}, ensure_ascii=False)

    assert read(text).body == body | {"kind": "CiliumHybrid"}


@given(st.text(max_size=200))
def test_no_text_whatever_cannot_be_read(text: str) -> None:
    for document in read_documents(f"CiliumHybrid: {text}"):
        assert document.faults or document.body is not None or not text.strip()
