import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.plan.upgrade.validator_log import invalid_policies

# From docs.cilium.io, with its lines joined.
OF_1_17 = (
    r'level=info msg="Setting up Kubernetes client" '
    r"""level=info msg="Validating CiliumNetworkPolicy 'default/cidr-rule': OK!\n" """
    r"""level=error msg="Validating CiliumNetworkPolicy 'default/cnp-update': unexpected validation error: """
    r"""spec.labels: Invalid value: \"string\": spec.labels in body must be of type object: \"string\"\n" """
    r'level=error msg="Found invalid CiliumNetworkPolicy"'
)
OF_1_18 = (
    'time=2026-03-01T12:00:00Z level=info msg="Validation OK!" type=CiliumNetworkPolicy name=default/fine '
    r'time=2026-03-01T12:00:00Z level=error msg="Unexpected validation error" error="spec: \"x\" is unknown" '
    "type=CiliumClusterwideNetworkPolicy name=everywhere "
    'time=2026-03-01T12:00:00Z level=error msg="Unexpected validation error" error=odd '
    "type=CiliumNetworkPolicy name=a/b "
    'time=2026-03-01T12:00:00Z level=fatal msg="Found invalid CiliumNetworkPolicy"'
)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        pytest.param("", [], id="an empty log"),
        pytest.param("sh: cilium-dbg: not found", [], id="another program"),
        pytest.param(
            OF_1_17,
            [
                (
                    'CiliumNetworkPolicy default/cnp-update: spec.labels: Invalid value: "string": '
                    'spec.labels in body must be of type object: "string"'
                )
            ],
            id="the policy in the message",
        ),
        pytest.param(
            OF_1_18,
            [
                'CiliumClusterwideNetworkPolicy everywhere: spec: "x" is unknown',
                "CiliumNetworkPolicy a/b: odd",
            ],
            id="the policy in fields",
        ),
        pytest.param(
            """level=error msg="Validating CiliumNetworkPolicy 'a/b': unexpected validation error" error="no" """,
            ["CiliumNetworkPolicy a/b: no"],
            id="the policy in the message, the error in a field",
        ),
        pytest.param(
            'level=error msg="Unexpected validation error" name=a/b',
            ["policy a/b: not valid in the target version"],
            id="without a kind and an error",
        ),
        pytest.param(
            """level=error msg="Validating CiliumNetworkPolicy 'a/b': unexpected validation error: spec.ingr""",
            ["CiliumNetworkPolicy a/b: spec.ingr"],
            id="a truncated end",
        ),
        pytest.param(
            """'a/b': unexpected validation error: x" level=error msg="Found invalid CiliumNetworkPolicy" """,
            [],
            id="a truncated beginning",
        ),
        pytest.param('level=error msg="Unexpected validation error" error=x', [], id="without a name"),
    ],
)
def test_policies_are_named_with_their_error(log: str, expected: list[str]) -> None:
    assert list(invalid_policies(log)) == expected


@given(st.text(alphabet=st.sampled_from("level=msg\"\\' ab/:\n"), max_size=40).map(lambda text: OF_1_17 + text))
def test_a_policy_is_found_whatever_follows_it(log: str) -> None:
    assert "default/cnp-update" in next(invalid_policies(log))
