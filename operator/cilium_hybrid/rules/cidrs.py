"""Rules on the CIDRs of a spec. The CRD has the same rules in CEL, with the same result."""

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Network
from itertools import chain
from typing import Final

from cilium_hybrid.api.cel import PRIVATE
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.fields import MAX_CIDR_LENGTH, MAX_MASK_SIZE
from cilium_hybrid.rules.lenient_spec import CIDR, LenientSpec
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.text import format_value, list_names

FORBIDDEN_NETWORKS: Final = {
    "nodeCIDRs": "remote node network",
    "vpcCIDRs": "VPC CIDR",
    "serviceCIDRs": "Service CIDR",
}
"""What the CIDRs of spec.networks are that pod CIDRs must not overlap, by field."""
RESERVED_ADDRESSES: Final = 4
"""Addresses of a node block that no pod gets: network, broadcast, router and health endpoint (Cilium's IPAM)."""
_PRIVATE_NETWORKS: Final = tuple(IPv4Network(network) for network in PRIVATE)


def canonical_cidr(text: str) -> str:
    """Return a CIDR without host bits, by which CIDRs are compared; a text that is no IPv4 CIDR stays as it is."""
    network = CIDR.parse("", text).network
    return text if network is None else str(network)


@lru_cache(maxsize=16_384)
def address_range(text: str) -> tuple[int, int] | None:
    """Return the first and the last address of a CIDR, None if it is not IPv4.

    It is cached, because thousands of node blocks are the same in each reconciliation.
    """
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        return None
    return int(network.network_address), int(network.broadcast_address)


def pods_per_node(mask_size: int) -> int:
    """Return how many pods get an address from a node block of this prefix length."""
    return max((1 << (32 - mask_size)) - RESERVED_ADDRESSES, 0)


def cidrs_are_ipv4(spec: LenientSpec) -> Iterator[Violation]:
    """EKS hybrid nodes are IPv4 only (EKS user guide, networking for hybrid nodes)."""
    for cidr in chain(spec.pod_cidrs, *spec.networks.values()):
        # The schema reports texts that are too long.
        if cidr.network is None and len(cidr.text) <= MAX_CIDR_LENGTH:
            message = f"Invalid value: {format_value(cidr.text)}: must be an IPv4 CIDR"
            yield Violation(Reason.INVALID_SPEC, cidr.path, message, "use a CIDR such as 10.85.0.0/16")


def cidrs_have_no_host_bits(spec: LenientSpec) -> Iterator[Violation]:
    """Cilium would clear host bits silently, and run another pool than the one in the spec."""
    for cidr in chain(spec.pod_cidrs, *spec.networks.values()):
        if cidr.network is not None and not cidr.canonical:
            message = f"Invalid value: {format_value(cidr.text)}: has host bits set"
            yield Violation(Reason.INVALID_SPEC, cidr.path, message, f"use {cidr.network}")


def pod_cidrs_are_private(spec: LenientSpec) -> Iterator[Violation]:
    """AWS allows RFC 1918 and 100.64.0.0/10 (EKS user guide, networking for hybrid nodes)."""
    for cidr, network in spec.pools():
        if not any(network.subnet_of(private) for private in _PRIVATE_NETWORKS):
            message = f"Invalid value: {format_value(cidr.text)}: is not a private network"
            inside = f"{', '.join(PRIVATE[:-1])} or {PRIVATE[-1]}"
            yield Violation(Reason.INVALID_SPEC, cidr.path, message, f"use a CIDR inside {inside}")


def pod_cidrs_do_not_overlap(spec: LenientSpec) -> Iterator[Violation]:
    """The Cilium operator exits at startup if pod CIDRs overlap."""
    pools = list(spec.pools())
    for index, (cidr, network) in enumerate(pools):
        earlier = next((other for other, earlier_network in pools[:index] if network.overlaps(earlier_network)), None)
        if earlier is not None:
            yield Violation(
                Reason.POD_CIDR_OVERLAP,
                cidr.path,
                f"{cidr} overlaps {earlier} ({earlier.path}), so two nodes could get the same block",
                "remove one of them",
            )


def pod_cidrs_fit_a_node_block(spec: LenientSpec) -> Iterator[Violation]:
    """Cilium accepts a pool that is smaller than a node block, and then fails on every node with "allocator full"."""
    mask = spec.mask_size
    for cidr, network in spec.pools():
        if mask is not None and network.prefixlen > mask:
            can_raise = network.prefixlen <= MAX_MASK_SIZE
            or_raise = f", or a maskSize of at least {network.prefixlen}" if can_raise else ""
            yield Violation(
                Reason.INVALID_SPEC,
                cidr.path,
                f"{network} is smaller than a node block (/{mask})",
                f"use a larger CIDR{or_raise}",
            )


def pod_cidrs_do_not_overlap_declared_networks(spec: LenientSpec) -> Iterator[Violation]:
    """Hybrid nodes cannot reach a node, a Service or a machine in the VPC whose address is in a pod CIDR."""
    for cidr, network in spec.pools():
        for name, kind in FORBIDDEN_NETWORKS.items():
            for declared, other in spec.declared_networks(name):
                if network.overlaps(other):
                    yield Violation(
                        Reason.POD_CIDR_OVERLAP,
                        cidr.path,
                        f"{network} overlaps {kind} {other} ({declared.path})",
                        f"use a CIDR outside {other}",
                    )


def pod_cidrs_are_in_remote_pod_networks(spec: LenientSpec) -> Iterator[Violation]:
    """The control plane and the VPC route only the EKS cluster's remote pod networks to pods on hybrid nodes."""
    remote = spec.declared_networks("remotePodCIDRs")
    for cidr, network in spec.pools() if remote else ():
        if not any(network.subnet_of(other) for _, other in remote):
            yield Violation(
                Reason.INVALID_SPEC,
                cidr.path,
                f"{network} is not inside spec.networks.remotePodCIDRs ({list_names([str(r) for _, r in remote])})",
                "use a CIDR inside them, or add it to the EKS cluster's remote pod networks and to this list",
            )


CIDR_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    cidrs_are_ipv4,
    cidrs_have_no_host_bits,
    pod_cidrs_are_private,
    pod_cidrs_do_not_overlap,
    pod_cidrs_fit_a_node_block,
)
ADDED_CIDR_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    pod_cidrs_do_not_overlap_declared_networks,
    pod_cidrs_are_in_remote_pod_networks,
)
"""Rules that refuse only pod CIDRs that do not run yet; one that runs cannot be removed."""
