import pytest

from cilium_hybrid.adapters.helm import bounded_yaml
from cilium_hybrid.adapters.helm.bounded_yaml import MAX_DEPTH, MAX_NODES, InvalidYAMLError
from limited import run_limited

REPEATED = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{number}: &a{number}\n  <<: [*a{number - 1}, *a{number - 1}]\n" for number in range(1, 26)
)
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{number}: &a{number} [*a{number - 1}, *a{number - 1}]\n" for number in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        pytest.param("a: {b: [1, 1.5, null, yes, 'yes']}", [{"a": {"b": [1, 1.5, None, True, "yes"]}}], id="values"),
        pytest.param("---\na: 1\n---\n# nothing\n---\nb: 2\n", [{"a": 1}, None, {"b": 2}], id="documents"),
        pytest.param("a: &x {b: 1}\nc: *x\nd: {<<: *x}", [{"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1}}], id="aliases"),
        pytest.param("a: &x 1\n---\nb: &x 2\nc: *x", [{"a": 1}, {"b": 2, "c": 2}], id="same anchor in two documents"),
        pytest.param(f"a: {'x' * 5000}", [{"a": "x" * 5000}], id="long text"),
        pytest.param(f"a: '{'1' * 5000}'", [{"a": "1" * 5000}], id="long text of digits"),
        pytest.param("", [], id="empty"),
    ],
)
def test_documents_are_parsed(text: str, documents: list[object]) -> None:
    assert bounded_yaml.load_all(text) == documents


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [", "is not valid YAML in line", id="syntax"),
        pytest.param("a: 1\nb: @x", "is not valid YAML in line 2", id="character"),
        pytest.param("a: \x01", "is not valid YAML", id="control character"),
        pytest.param("a: !!int x", "is not valid YAML", id="tag int"),
        pytest.param("a: !!bool x", "is not valid YAML", id="tag bool"),
        pytest.param("a: !!timestamp x", "is not valid YAML", id="tag timestamp"),
        pytest.param("a: 2001-99-99", "is not valid YAML", id="date"),
        pytest.param("a: !!python/object/apply:os.getcwd []", "is not valid YAML in line 1", id="tag of Python"),
        pytest.param("? [a]\n: b", "is not valid YAML in line 1", id="list as a key"),
        pytest.param("a: *x", "has an alias without an anchor before it", id="alias without an anchor"),
        pytest.param("a: &x [*x]", "has an alias without an anchor before it", id="list that contains itself"),
        pytest.param("a: &x 1\n---\nb: *x", "has an alias without an anchor", id="anchor of another document"),
        pytest.param("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"has more than {MAX_DEPTH} levels", id="depth"),
        pytest.param("[x,x]\n---\n" * MAX_NODES, f"has more than {MAX_NODES} values", id="documents"),
        pytest.param(f"a: 1{'0' * 5000}", "has a number that is too long", id="number"),
        pytest.param(f"a: !!int '{'1:' * 5000}1'", "has a number that is too long", id="quoted number"),
    ],
)
def test_invalid_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidYAMLError, match=f"^{message}"):
        bounded_yaml.load_all(text)


def test_an_error_quotes_nothing_of_the_text() -> None:
    with pytest.raises(InvalidYAMLError) as error:
        bounded_yaml.load_all("password: {hunter2: [")

    assert "hunter2" not in str(error.value)


HOSTILE = {
    "pairs": "{" + "a," * 127_500 + "}",
    "lists": "[" + "[]," * 85_000 + "]",
    "numbers": "[" + "1," * 127_500 + "]",
    "deep flow": "[" * 255_000,
    "deep block": "- " * 127_500,
    "keys in keys": "? " * 127_500,
    "merged aliases": REPEATED,
    "repeated aliases": LAUGHS,
    "base 60": "a: " + ":".join(["1"] * 127_000),
    "documents": "---\n" * 64_000,
    "keys of one hash": "{" + ",".join(f"{(2**61 - 1) * number}: 0" for number in range(1, 25_000)) + "}",
    "anchors": "[" + "&a 1," * 51_000 + "]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_take_little_memory_and_time(text: str) -> None:
    code = """
try:
    bounded_yaml.load_all(sys.stdin.read())
except bounded_yaml.InvalidYAMLError:
    pass
print("bounded")
"""
    imports = "from cilium_hybrid.adapters.helm import bounded_yaml"

    assert run_limited(imports, code, stdin=text, cpu_seconds=5) == "bounded"


def test_one_document_is_expected() -> None:
    assert bounded_yaml.load("") is None
    assert bounded_yaml.load("a: 1") == {"a": 1}
    with pytest.raises(InvalidYAMLError, match=r"^has more than one YAML document$"):
        bounded_yaml.load("a: 1\n---\nb: 2")
