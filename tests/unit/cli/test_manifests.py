import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.cli.manifests import MAX_CHARACTERS, MAX_DEPTH, Document, read_documents

HEAD = "kind: CiliumHybrid\n"


def read(text: str) -> Document:
    (document,) = read_documents(text)
    return document


def errors(text: str) -> list[tuple[str, str]]:
    return [(error.path, error.message) for error in read(text).errors]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: yes\nb: ~\nc: 0x10\nd: 1e3\ne: '1'\n", {"a": True, "b": None, "c": 16, "d": "1e3", "e": "1"}),
        pytest.param("at: 2026-01-02\n=: 1\n", {"at": "2026-01-02", "=": 1}, id="a date is a string"),
        pytest.param("1: x\ntrue: y\n", {"1": "x", "true": "y"}, id="keys become strings"),
        pytest.param("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n", {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}),
        pytest.param("a: &a [1]\nb: *a\n", {"a": [1], "b": [1]}, id="an alias"),
        pytest.param("a: !!str 1.17\n", {"a": "1.17"}, id="a tag with a JSON type"),
        pytest.param("a: |\n  x\n   ---\n  y\n", {"a": "x\n ---\ny\n"}, id="dashes inside a string"),
    ],
)
def test_a_document_is_read_as_kubectl_reads_it(text: str, expected: dict[str, Any]) -> None:
    assert read(HEAD + text).body == {"kind": "CiliumHybrid"} | expected


def test_documents_are_split_and_other_kinds_are_ignored() -> None:
    text = "# CiliumHybrid\n---\nkind: {{ .Values.kind }}\n---  # one\nkind: CiliumHybrid\n--- {kind: CiliumHybrid}\n"

    assert [(document.body, document.line) for document in read_documents(text)] == [
        (None, 1),
        ({"kind": "CiliumHybrid"}, 5),
        ({"kind": "CiliumHybrid"}, 6),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [1\n", [("-", "invalid YAML: did not find expected ',' or ']' on line 3")], id="invalid YAML"),
        pytest.param("a: \x07\n", [("-", "invalid YAML: control characters are not allowed")], id="a bell"),
        pytest.param("a: *b\n", [("-", "alias *b refers to an undefined or enclosing anchor")], id="an unknown alias"),
        pytest.param(
            "a: &a [*a]\n",
            [("-", "alias *a refers to an undefined or enclosing anchor")],
            id="a circular alias",
        ),
        pytest.param("a: 1\nb: 2\na: 3\n", [("a", "duplicate key, repeated on line 4")], id="a duplicate key"),
        pytest.param("a: .nan\n", [("a", 'Invalid value: ".nan": cannot be represented in JSON')], id="not a number"),
        pytest.param(
            "a: 0b_\n", [("a", 'Invalid value: "0b_": cannot be represented in JSON')], id="a number without digits"
        ),
        pytest.param("a: !x 1\n", [("a", 'Invalid value: "1": cannot be represented in JSON')], id="a custom tag"),
        pytest.param("a: !!binary aGk=\n", [("a", 'Invalid value: "aGk=": cannot be represented in JSON')], id="bytes"),
        pytest.param("[1]: 2\n", [("-", "has a key that is not a string")], id="a list as key"),
        pytest.param("a: {~: 2}\n", [("a", "has a key that is not a string")], id="null as key"),
        pytest.param(
            "a: {<<: 4}\n",
            [("a", "expected a mapping or list of mappings for merging, but found scalar on line 2")],
            id="a merged number",
        ),
    ],
)
def test_a_value_that_is_not_json_is_reported_with_its_path(text: str, expected: list[tuple[str, str]]) -> None:
    assert errors(HEAD + text) == expected


BOMB = "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for name, below in zip("bcdefgh", "abcdefg", strict=True)
)
TOO_LARGE = f"larger than the {MAX_CHARACTERS} characters that the API server accepts"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: " + "[" * 100_000, f"nested deeper than {MAX_DEPTH} levels", id="brackets"),
        pytest.param("- " * 100_000 + "a", f"nested deeper than {MAX_DEPTH} levels", id="dashes"),
        pytest.param(f"a: &a [{'x, ' * 9}]\n{BOMB}", TOO_LARGE, id="aliases of aliases"),
        pytest.param(f"a: &a '{'x' * 100_000}'\nb: [{'*a, ' * 100}]", TOO_LARGE, id="many aliases of a long string"),
        pytest.param("".join(f"k{n}: {n}\n" for n in range(100_000)), TOO_LARGE, id="many keys"),
        pytest.param(
            "x" * MAX_CHARACTERS,
            f"{MAX_CHARACTERS + 14} characters long; the API server accepts at most {MAX_CHARACTERS}",
            id="long",
        ),
    ],
)
def test_an_oversized_document_is_refused_before_it_is_parsed(text: str, expected: str) -> None:
    prefix = "# CiliumHybrid" if text.startswith(("- ", "x")) else HEAD
    document = read(f"{prefix}{'' if text[0] == 'x' else chr(10)}{text}")

    assert document.body is None
    assert [(error.path, error.message) for error in document.errors] == [("-", expected)]


def test_each_value_has_its_line_and_a_missing_one_has_its_parents() -> None:
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
def test_json_is_read_unchanged(body: dict[str, Any]) -> None:
    text = json.dumps(body | {"kind": "CiliumHybrid"}, ensure_ascii=False)

    assert read(text).body == body | {"kind": "CiliumHybrid"}


@given(st.text(max_size=200))
def test_any_text_yields_a_value_or_an_error(text: str) -> None:
    for document in read_documents(f"CiliumHybrid: {text}"):
        assert document.errors or document.body is not None or not text.strip()
