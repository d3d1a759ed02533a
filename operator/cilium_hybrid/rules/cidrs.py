"""Rules on the CIDRs of a spec. They stand in the CRD as CEL too, and give the same verdict."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import chain
from typing import Final

from cilium_hybrid.api.cel import PRIVATE
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import LONGEST_MASK, MAX_CIDR_LENGTH
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Rule, Violation

FOREIGN_NETWORKS: Final = {
    "nodeCIDRs": "the nodes' network",
    "vpcCIDRs": "the VPC",
    "serviceCIDRs": "the Services' network",
}
_PRIVATE: Final = tuple(IPv4Network(network) for network in PRIVATE)


def cidrs_are_ipv4_networks(spec: LenientSpec) -> Iterator[Violation]:
    """EKS hybrid nodes are IPv4 only (EKS user guide, networking for hybrid nodes)."""
    for cidr in chain(spec.pod_cidrs, *spec.networks.values()):
        # One that is too long is a fault of form, and once is enough.
        if cidr.network is None and len(cidr.text) <= MAX_CIDR_LENGTH:
            yield Violation(Reason.INVALID_SPEC, cidr.path, f"{cidr} is no IPv4 CIDR", "write one such as 10.85.0.0/16")


def cidrs_begin_with_their_first_address(spec: LenientSpec) -> Iterator[Violation]:
    """Cilium would clear host bits without a word, and run another pool than the one that is written."""
    for cidr in chain(spec.pod_cidrs, *spec.networks.values()):
        if cidr.network is not None and not cidr.canonical:
            yield Violation(
                Reason.INVALID_SPEC,
                cidr.path,
                f"{cidr} has bits set to the right of its prefix",
                f"write {cidr.network}",
            )


def pod_cidrs_are_private(spec: LenientSpec) -> Iterator[Violation]:
    """AWS allows RFC 1918 and 100.64.0.0/10 (EKS user guide, networking for hybrid nodes)."""
    for cidr, network in spec.pools():
        if not any(network.subnet_of(private) for private in _PRIVATE):
            yield Violation(
                Reason.INVALID_SPEC, cidr.path, f"{network} is not private", f"take one inside {', '.join(PRIVATE)}"
            )


def pod_cidrs_do_not_overlap(spec: LenientSpec) -> Iterator[Violation]:
    """Cilium's operator stops at its start when pools overlap."""
    pools = list(spec.pools())
    for index, (cidr, network) in enumerate(pools):
        earlier = next((other for other, taken in pools[:index] if network.overlaps(taken)), None)
        if earlier is not None:
            yield Violation(
                Reason.POD_CIDR_OVERLAP,
                cidr.path,
                f"{cidr} overlaps {earlier} of {earlier.path}: two nodes could be given the same block",
                "take one of them out",
            )


def pod_cidrs_hold_a_block(spec: LenientSpec) -> Iterator[Violation]:
    """Cilium accepts a pool smaller than a block, and then every node gets 'allocator full'."""
    mask = spec.mask_size
    for cidr, network in spec.pools():
        if mask is not None and network.prefixlen > mask:
            fitting = network.prefixlen <= LONGEST_MASK
            mask_too = f", or a maskSize of at least {network.prefixlen}" if fitting else ""
            yield Violation(
                Reason.INVALID_SPEC,
                cidr.path,
                f"{network} holds no block of /{mask}",
                f"take a larger CIDR{mask_too}",
            )


def pod_cidrs_keep_clear_of_declared_networks(spec: LenientSpec) -> Iterator[Violation]:
    """A pod with the address of a node, a Service or a machine in the VPC cuts that one off from every hybrid node."""
    for cidr, network in spec.pools():
        for name, whose in FOREIGN_NETWORKS.items():
            for declared, other in spec.declared(name):
                if network.overlaps(other):
                    yield Violation(
                        Reason.POD_CIDR_OVERLAP,
                        cidr.path,
                        f"{network} overlaps {other}, {whose} ({declared.path})",
                        f"take a CIDR outside {other}",
                    )


def pod_cidrs_lie_in_the_remote_pod_networks(spec: LenientSpec) -> Iterator[Violation]:
    """The control plane and the VPC route to pods by the remote pod networks of the EKS cluster alone."""
    remote = spec.declared("remotePodCIDRs")
    for cidr, network in spec.pools() if remote else ():
        if not any(network.subnet_of(other) for _, other in remote):
            yield Violation(
                Reason.INVALID_SPEC,
                cidr.path,
                f"{network} lies in none of spec.networks.remotePodCIDRs ({', '.join(str(r) for _, r in remote[:3])}"
                f"{', …' if len(remote) > 3 else ''})",  # noqa: PLR2004 # as many as are named
                "take one inside them, or add it to the EKS cluster's remote pod networks and to the list",
            )


CIDR_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    cidrs_are_ipv4_networks,
    cidrs_begin_with_their_first_address,
    pod_cidrs_are_private,
    pod_cidrs_do_not_overlap,
    pod_cidrs_hold_a_block,
)
ADDED_CIDR_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    pod_cidrs_keep_clear_of_declared_networks,
    pod_cidrs_lie_in_the_remote_pod_networks,
)
"""Rules that only a CIDR that does not run yet can break; one that runs could not be taken out."""
