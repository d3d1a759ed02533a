import pytest

from builders import a_lenient_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rule import all_violations
from cilium_hybrid.rules.spec import SPEC_RULES

A, B = "10.85.0.0/16", "10.86.0.0/16"


@pytest.mark.parametrize(
    ("pod_cidrs", "expected"),
    [
        pytest.param([A], [], id="one private network"),
        pytest.param([A, B], [], id="two that touch"),
        pytest.param(["172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "10.0.0.0/8"], [], id="all that AWS allows"),
        pytest.param(["10.85.0.0/25"], [], id="exactly one block"),
        pytest.param(["fd00::/64"], [(Reason.INVALID_SPEC, 0)], id="IPv6"),
        pytest.param(["::ffff:a00:0/104"], [(Reason.INVALID_SPEC, 0)], id="IPv4 in the clothes of IPv6"),
        pytest.param(["10.85.0.0"], [(Reason.INVALID_SPEC, 0)], id="an address without a prefix"),
        pytest.param(["10.85.0.0/"], [(Reason.INVALID_SPEC, 0)], id="an empty prefix"),
        pytest.param(["10.85.0.0/016"], [(Reason.INVALID_SPEC, 0)], id="a prefix with a leading zero"),
        pytest.param(["10.85.0.0/+16"], [(Reason.INVALID_SPEC, 0)], id="a prefix with a sign"),
        pytest.param(["10.85.0.0/\N{SUPERSCRIPT TWO}"], [(Reason.INVALID_SPEC, 0)], id="a digit beyond ASCII"),
        pytest.param(["10.0.0.0/255.0.0.0"], [(Reason.INVALID_SPEC, 0)], id="a netmask"),
        pytest.param(["10.85.0.0/33"], [(Reason.INVALID_SPEC, 0)], id="a prefix of 33"),
        pytest.param(["10.85.0.0.0/16"], [(Reason.INVALID_SPEC, 0)], id="five numbers"),
        pytest.param(["10.085.0.0/16"], [(Reason.INVALID_SPEC, 0)], id="a leading zero, which may mean octal"),
        pytest.param(["nonsense"], [(Reason.INVALID_SPEC, 0)], id="nonsense"),
        pytest.param(["10.85.0.1/16"], [(Reason.INVALID_SPEC, 0)], id="host bits"),
        pytest.param(["8.8.0.0/16"], [(Reason.INVALID_SPEC, 0)], id="public addresses"),
        pytest.param(["0.0.0.0/0"], [(Reason.INVALID_SPEC, 0)], id="all there is"),
        pytest.param(["172.0.0.0/8"], [(Reason.INVALID_SPEC, 0)], id="private addresses and more"),
        pytest.param(["100.128.0.0/16"], [(Reason.INVALID_SPEC, 0)], id="just outside 100.64.0.0/10"),
        pytest.param([A, A], [(Reason.POD_CIDR_OVERLAP, 1)], id="the same twice"),
        pytest.param([A, "10.85.128.0/17"], [(Reason.POD_CIDR_OVERLAP, 1)], id="one inside the one before"),
        pytest.param(["10.85.128.0/17", A], [(Reason.POD_CIDR_OVERLAP, 1)], id="one around the one before"),
        pytest.param(
            [A, B, A, B],
            [(Reason.POD_CIDR_OVERLAP, 2), (Reason.POD_CIDR_OVERLAP, 3)],
            id="each overlap is named",
        ),
        pytest.param(["10.85.0.0/26"], [(Reason.INVALID_SPEC, 0)], id="half a block"),
        pytest.param(
            [A, "8.8.0.1/16", A],
            [(Reason.INVALID_SPEC, 1), (Reason.INVALID_SPEC, 1), (Reason.POD_CIDR_OVERLAP, 2)],
            id="form before place before overlap",
        ),
    ],
)
def test_pod_cidrs(pod_cidrs: list[str], expected: list[tuple[Reason, int]]) -> None:
    found = [(broken.reason, broken.path) for broken in all_violations(SPEC_RULES, a_lenient_spec(pod_cidrs=pod_cidrs))]

    assert found == [(reason, f"spec.ipam.podCIDRs[{index}]") for reason, index in expected]


def test_values_are_judged_after_the_pools() -> None:
    spec = a_lenient_spec(pod_cidrs=["10.85.0.0/26"], values={"ipam": {"mode": "kubernetes"}})

    assert [broken.path for broken in all_violations(SPEC_RULES, spec)] == ["spec.ipam.podCIDRs[0]", "spec.values.ipam"]


@pytest.mark.parametrize(
    ("pod_cidrs", "words"),
    [
        pytest.param(["10.85.0.1/16"], "10.85.0.1/16 has bits set to the right of its prefix: write 10.85.0.0/16"),
        pytest.param([A, "10.85.1.0/24"], "10.85.1.0/24 overlaps 10.85.0.0/16"),
        pytest.param(["10.85.0.0/26"], "10.85.0.0/26 holds no block of /25"),
        pytest.param(["8.8.8.0/24"], "8.8.8.0/24 is not private"),
        pytest.param(["x"], '"x" is no IPv4 CIDR'),
        pytest.param(["10.0.0.0/08"], '"10.0.0.0/08" is no IPv4 CIDR'),
    ],
)
def test_a_message_names_what_was_written_and_what_it_clashes_with(pod_cidrs: list[str], words: str) -> None:
    (broken,) = all_violations(SPEC_RULES, a_lenient_spec(pod_cidrs=pod_cidrs))

    assert words in str(broken)
