import pytest

from cilium_hybrid.rules.text import list_names


@pytest.mark.parametrize(
    ("names", "told"),
    [("", ""), ("a", "a"), ("abc", "a, b, c"), ("abcd", "a, b and 2 more")],
    ids=["none", "one", "three are all named", "of four two are"],
)
def test_names_in_a_line(names: str, told: str) -> None:
    assert list_names(tuple(names)) == told
