"""Where a pool can grow: the next CIDR that nobody is known to use."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from typing import Final

from cilium_hybrid.api.cel import PRIVATE
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.cidrs import FOREIGN_NETWORKS
from cilium_hybrid.rules.lenient_spec import LenientSpec

_BITS: Final = 32

Range = tuple[int, int]
"""First and last address."""


def free_network(observation: Observation, spec: LenientSpec, used: Sequence[Range], mask: int) -> IPv4Network | None:
    """A CIDR like the last of `used`, the next that is free of all that is known; a smaller one where there is none."""
    first, last = used[-1]
    avoided = sorted(_avoided(observation, spec, used))
    areas = list(_areas(spec))
    # What follows the last pool is what an admin would take.
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
    for name in FOREIGN_NETWORKS:
        yield from map(_range_of, (network for _, network in spec.declared(name)))


def _areas(spec: LenientSpec) -> Iterator[Range]:
    """Where a pool may lie: private, and in a remote pod network where those are declared."""
    private = [IPv4Network(network) for network in PRIVATE]
    remote = [network for _, network in spec.declared("remotePodCIDRs")]
    if not remote:
        yield from map(_range_of, private)
    for network in remote:
        for other in private:
            if network.overlaps(other):
                yield _range_of(max(network, other, key=lambda one: one.prefixlen))


def _range_of(network: IPv4Network) -> Range:
    return int(network.network_address), int(network.broadcast_address)


def _gap(area: Range, size: int, avoided: Sequence[Range]) -> int | None:
    """The first aligned place of this size in an area that touches nothing of what is avoided, sorted by first."""
    start = -(-area[0] // size) * size
    for first, last in avoided:
        if first >= start + size:
            break
        if last >= start:
            start = (last // size + 1) * size
    return start if start + size - 1 <= area[1] else None
