import pytest

from builders import a_lenient_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rule import all_violations
from cilium_hybrid.rules.spec import SPEC_RULES

A, B = "10.85.0.0/16", "10.86.0.0/16"


@pytest.mark.parametrize(
    ("pod_cidrs", "expected"),
    [
        pytest.param([A], [], id="one private CIDR"),
        pytest.param([A, B], [], id="two adjacent CIDRs"),
        pytest.param(
            ["172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "10.0.0.0/8"], [], id="all ranges that AWS allows"
        ),
        pytest.param(["10.85.0.0/25"], [], id="exactly one node block"),
        pytest.param(["fd00::/64"], [(Reason.INVALID_SPEC, 0)], id="IPv6"),
        pytest.param(["::ffff:a00:0/104"], [(Reason.INVALID_SPEC, 0)], id="IPv4-mapped IPv6"),
        pytest.param(["10.85.0.0"], [(Reason.INVALID_SPEC, 0)], id="no prefix length"),
        pytest.param(["10.85.0.0/"], [(Reason.INVALID_SPEC, 0)], id="an empty prefix length"),
        pytest.param(["10.85.0.0/016"], [(Reason.INVALID_SPEC, 0)], id="a prefix length with a leading zero"),
        pytest.param(["10.85.0.0/+16"], [(Reason.INVALID_SPEC, 0)], id="a prefix length with a sign"),
        pytest.param(["10.85.0.0/\N{SUPERSCRIPT TWO}"], [(Reason.INVALID_SPEC, 0)], id="a non-ASCII digit"),
        pytest.param(["10.0.0.0/255.0.0.0"], [(Reason.INVALID_SPEC, 0)], id="a netmask"),
        pytest.param(["10.85.0.0/33"], [(Reason.INVALID_SPEC, 0)], id="prefix length 33"),
        pytest.param(["10.85.0.0.0/16"], [(Reason.INVALID_SPEC, 0)], id="five numbers"),
        pytest.param(["10.085.0.0/16"], [(Reason.INVALID_SPEC, 0)], id="a leading zero, which could mean octal"),
        pytest.param(["nonsense"], [(Reason.INVALID_SPEC, 0)], id="nonsense"),
        pytest.param(["10.85.0.1/16"], [(Reason.INVALID_SPEC, 0)], id="host bits"),
        pytest.param(["8.8.0.0/16"], [(Reason.INVALID_SPEC, 0)], id="public addresses"),
        pytest.param(["0.0.0.0/0"], [(Reason.INVALID_SPEC, 0)], id="all addresses"),
        pytest.param(["172.0.0.0/8"], [(Reason.INVALID_SPEC, 0)], id="private and public addresses"),
        pytest.param(["100.128.0.0/16"], [(Reason.INVALID_SPEC, 0)], id="just outside 100.64.0.0/10"),
        pytest.param([A, A], [(Reason.POD_CIDR_OVERLAP, 1)], id="a duplicate"),
        pytest.param([A, "10.85.128.0/17"], [(Reason.POD_CIDR_OVERLAP, 1)], id="inside an earlier one"),
        pytest.param(["10.85.128.0/17", A], [(Reason.POD_CIDR_OVERLAP, 1)], id="contains an earlier one"),
        pytest.param(
            [A, B, A, B],
            [(Reason.POD_CIDR_OVERLAP, 2), (Reason.POD_CIDR_OVERLAP, 3)],
            id="every overlap is reported",
        ),
        pytest.param(["10.85.0.0/26"], [(Reason.INVALID_SPEC, 0)], id="half a node block"),
        pytest.param(
            [A, "8.8.0.1/16", A],
            [(Reason.INVALID_SPEC, 1), (Reason.INVALID_SPEC, 1), (Reason.POD_CIDR_OVERLAP, 2)],
            id="format before range before overlap",
        ),
    ],
)
def test_pod_cidrs(pod_cidrs: list[str], expected: list[tuple[Reason, int]]) -> None:
    found = [(broken.reason, broken.path) for broken in all_violations(SPEC_RULES, a_lenient_spec(pod_cidrs=pod_cidrs))]

    assert found == [(reason, f"spec.ipam.podCIDRs[{index}]") for reason, index in expected]


def test_values_are_validated_after_pod_cidrs() -> None:
    spec = a_lenient_spec(pod_cidrs=["10.85.0.0/26"], values={"ipam": {"mode": "kubernetes"}})

    assert [broken.path for broken in all_violations(SPEC_RULES, spec)] == ["spec.ipam.podCIDRs[0]", "spec.values.ipam"]


@pytest.mark.parametrize(
    ("pod_cidrs", "words"),
    [
        pytest.param(
            ["10.85.0.1/16"],
            'spec.ipam.podCIDRs[0]: Invalid value: "10.85.0.1/16": has host bits set; use 10.85.0.0/16',
        ),
        pytest.param([A, "10.85.1.0/24"], "10.85.1.0/24 overlaps 10.85.0.0/16 (spec.ipam.podCIDRs[0])"),
        pytest.param(
            ["10.85.0.0/26"],
            "10.85.0.0/26 is smaller than a node block (/25); use a larger CIDR, or a maskSize of at least 26",
        ),
        pytest.param(
            ["8.8.8.0/24"], 'Invalid value: "8.8.8.0/24": is not a private network; use a CIDR inside 10.0.0.0/8, '
        ),
        pytest.param(["x"], 'Invalid value: "x": must be an IPv4 CIDR; use a CIDR such as 10.85.0.0/16'),
        pytest.param(["10.0.0.0/08"], 'Invalid value: "10.0.0.0/08": must be an IPv4 CIDR'),
    ],
)
def test_the_message_names_the_value_and_what_is_valid(pod_cidrs: list[str], words: str) -> None:
    (broken,) = all_violations(SPEC_RULES, a_lenient_spec(pod_cidrs=pod_cidrs))

    assert words in str(broken)
