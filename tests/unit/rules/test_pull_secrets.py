import pytest

from builders import a_lenient_spec
from cilium_hybrid.rules.pull_secrets import PULL_SECRET_RULES
from cilium_hybrid.rules.rule import all_violations

SET_TWICE = (
    "cannot be set together with spec.imagePullSecrets; remove it, and list every Secret in spec.imagePullSecrets"
)


@pytest.mark.parametrize(
    ("names", "values", "expected"),
    [
        pytest.param([], {}, [], id="none"),
        pytest.param(["a", "b"], {}, [], id="two"),
        pytest.param([], {"imagePullSecrets": [{"name": "a"}]}, [], id="only in values"),
        pytest.param(
            ["a"],
            {"imagePullSecrets": []},
            [f"spec.values.imagePullSecrets: {SET_TWICE}"],
            id="in the spec and in values",
        ),
        pytest.param(
            ["a", "b", "a", "a"],
            {},
            ['spec.imagePullSecrets: contains Secret "a" 3 times; list it once'],
            id="a duplicate",
        ),
    ],
)
def test_pull_secrets(names: list[str], values: dict[str, object], expected: list[str]) -> None:
    spec = a_lenient_spec(imagePullSecrets=[{"name": name} for name in names], values=values)

    assert [str(violation) for violation in all_violations(PULL_SECRET_RULES, spec)] == expected
