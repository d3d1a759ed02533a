"""A CIDR to append to the pools: the next one that is not known to be in use."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from typing import Final

from cilium_hybrid.api.cel import PRIVATE
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.cidrs import FORBIDDEN_NETWORKS
from cilium_hybrid.rules.lenient_spec import LenientSpec

_BITS: Final = 32

Range = tuple[int, int]
"""First and last address."""


def find_free_network(
    observation: Observation, spec: LenientSpec, used: Sequence[Range], mask: int
) -> IPv4Network | None:
    """Return the next free CIDR of the size of the last range in `used`, else a smaller one; None if there is none.

    It holds at least one node block, whose prefix length is `mask`.
    """
    first, last = used[-1]
    avoided = sorted(_avoided(observation, spec, used))
    areas = list(_areas(spec))
    # An admin would choose the range after the last pool.
    ahead = [(max(begin, last + 1), end) for begin, end in areas if begin <= last < end]
    for prefix in range(_BITS - (last - first).bit_length(), mask + 1):
        size = 1 << (_BITS - prefix)
        for area in (*ahead, *areas):
            if (start := _gap(area, size, avoided)) is not None:
                return IPv4Network((start, prefix))
    return None


def _avoided(observation: Observation, spec: LenientSpec, used: Sequence[Range]) -> Iterator[Range]:
    yield from used
    yield from ((taken.first, taken.last) for taken in observation.taken)
    for node in observation.nodes.values():
        yield from ((taken.first, taken.last) for taken in node.addresses)
    for name in FORBIDDEN_NETWORKS:
        yield from map(_range_of, (network for _, network in spec.declared_networks(name)))


def _areas(spec: LenientSpec) -> Iterator[Range]:
    """Yield where a pool may lie: private networks, within the remote pod networks if those are declared."""
    private = [IPv4Network(network) for network in PRIVATE]
    remote = [network for _, network in spec.declared_networks("remotePodCIDRs")]
    if not remote:
        yield from map(_range_of, private)
    for network in remote:
        for other in private:
            if network.overlaps(other):
                yield _range_of(max(network, other, key=lambda candidate: candidate.prefixlen))


def _range_of(network: IPv4Network) -> Range:
    return int(network.network_address), int(network.broadcast_address)


def _gap(area: Range, size: int, avoided: Sequence[Range]) -> int | None:
    """Return the first aligned range of this size in `area` that touches none of `avoided`, which is sorted."""
    start = -(-area[0] // size) * size
    for first, last in avoided:
        if first >= start + size:
            break
        if last >= start:
            start = (last // size + 1) * size
    return start if start + size - 1 <= area[1] else None
