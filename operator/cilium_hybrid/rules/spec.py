"""Rules on a spec alone. Those on CIDRs stand in the CRD as CEL too, and give the same verdict."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import PRIVATE, Spec
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.values import owned_paths_are_left_alone

_PRIVATE: Final = tuple(IPv4Network(network) for network in PRIVATE)


def _pod_cidrs(spec: Spec) -> Iterator[tuple[str, IPv4Network]]:
    """Path and network of each pod CIDR that is one."""
    for index, text in enumerate(spec.ipam.pod_cidrs):
        network = _network(text)
        if network is not None:
            yield f"spec.ipam.podCIDRs[{index}]", network


def _network(text: str) -> IPv4Network | None:
    """An IPv4 network with its host bits cleared; None for what Go's netip.ParsePrefix would not take."""
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()) or (len(length) > 1 and length[0] == "0"):
        return None
    try:
        return IPv4Network(f"{address}/{length}", strict=False)
    except ValueError:
        return None


def pod_cidrs_are_ipv4_networks(spec: Spec) -> Iterator[Violation]:
    """EKS hybrid nodes are IPv4 only; Cilium would clear host bits without a word."""
    for index, text in enumerate(spec.ipam.pod_cidrs):
        path, network = f"spec.ipam.podCIDRs[{index}]", _network(text)
        if network is None:
            yield Violation(Reason.INVALID_SPEC, path, f"{text!r} is no IPv4 CIDR such as 10.85.0.0/16")
        elif str(network) != text:
            yield Violation(
                Reason.INVALID_SPEC, path, f"{text} has bits set to the right of its prefix: write {network}"
            )


def pod_cidrs_are_private(spec: Spec) -> Iterator[Violation]:
    """AWS allows RFC 1918 and 100.64.0.0/10 (EKS user guide, networking for hybrid nodes)."""
    for path, network in _pod_cidrs(spec):
        if not any(network.subnet_of(private) for private in _PRIVATE):
            yield Violation(Reason.INVALID_SPEC, path, f"{network} is not private: it must lie in {', '.join(PRIVATE)}")


def pod_cidrs_do_not_overlap(spec: Spec) -> Iterator[Violation]:
    """Cilium's operator stops at its start when pools overlap."""
    for (_, one), (path, other) in combinations(_pod_cidrs(spec), 2):
        if one.overlaps(other):
            yield Violation(
                Reason.POD_CIDR_OVERLAP,
                path,
                f"{other} overlaps {one}, which stands before it: take one of them out",
            )


def pod_cidrs_hold_a_block(spec: Spec) -> Iterator[Violation]:
    """Cilium accepts a pool smaller than a block, and then every node gets 'allocator full'."""
    mask = spec.ipam.mask_size
    for path, network in _pod_cidrs(spec):
        if network.prefixlen > mask:
            yield Violation(
                Reason.INVALID_SPEC,
                path,
                f"{network} holds no block of /{mask}: take a larger CIDR, or a maskSize of at least "
                f"{network.prefixlen}",
            )


SPEC_RULES: Final[tuple[Rule[Spec], ...]] = (
    pod_cidrs_are_ipv4_networks,
    pod_cidrs_are_private,
    pod_cidrs_do_not_overlap,
    pod_cidrs_hold_a_block,
    owned_paths_are_left_alone,
)
