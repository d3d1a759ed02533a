import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.plan.upgrade.validator_log import refused_policies

# As docs.cilium.io shows it, its lines joined.
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
        pytest.param("", [], id="nothing was said"),
        pytest.param("sh: cilium-dbg: not found", [], id="another program"),
        pytest.param(
            OF_1_17,
            [
                (
                    'CiliumNetworkPolicy default/cnp-update: spec.labels: Invalid value: "string": '
                    'spec.labels in body must be of type object: "string"'
                )
            ],
            id="the policy is named in the message",
        ),
        pytest.param(
            OF_1_18,
            [
                'CiliumClusterwideNetworkPolicy everywhere: spec: "x" is unknown',
                "CiliumNetworkPolicy a/b: odd",
            ],
            id="the policy is named beside the message",
        ),
        pytest.param(
            """level=error msg="Validating CiliumNetworkPolicy 'a/b': unexpected validation error" error="no" """,
            ["CiliumNetworkPolicy a/b: no"],
            id="its name in the message, its reason beside it",
        ),
        pytest.param(
            'level=error msg="Unexpected validation error" name=a/b',
            ["policy a/b: it is not valid in the target version"],
            id="without a kind and a reason",
        ),
        pytest.param(
            """level=error msg="Validating CiliumNetworkPolicy 'a/b': unexpected validation error: spec.ingr""",
            ["CiliumNetworkPolicy a/b: spec.ingr"],
            id="the end cut off",
        ),
        pytest.param(
            """'a/b': unexpected validation error: x" level=error msg="Found invalid CiliumNetworkPolicy" """,
            [],
            id="the beginning cut off",
        ),
        pytest.param('level=error msg="Unexpected validation error" error=x', [], id="no name"),
    ],
)
def test_policies_are_named_with_their_reason(log: str, expected: list[str]) -> None:
    assert list(refused_policies(log)) == expected


@given(st.text(alphabet=st.sampled_from("level=msg\"\\' ab/:\n"), max_size=40).map(lambda text: OF_1_17 + text))
def test_whatever_follows_a_named_policy_stays_named(log: str) -> None:
    assert "default/cnp-update" in next(refused_policies(log))
