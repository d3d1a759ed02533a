"""The addresses of pods: how many blocks the pools have, who has which, and what to append before none is left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network
from typing import Final

from cilium_hybrid.api.status import Ipam, NodeBlocks
from cilium_hybrid.api.v1alpha1 import MAX_CIDRS
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import running
from cilium_hybrid.plan.status.free_cidr import Range, free_network
from cilium_hybrid.rules.lenient_spec import LenientSpec, read_lenient_spec
from cilium_hybrid.rules.text import list_names

RESERVED: Final = 4
"""Addresses of a block that no pod gets: network, broadcast, router and health endpoint."""
_BITS: Final = 32
_ENOUGH: Final = 10
"""A tenth of the blocks is to be left."""


@dataclass(frozen=True, slots=True)
class IpamUsage:
    """The pools that run: what the status counts, `forecast` where too little is left, and what is out of order."""

    ipam: Ipam
    forecast: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Block:
    """A block, and the CiliumNode that has it."""

    node: str
    text: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Pool:
    """A CIDR that Cilium's operator cuts blocks from."""

    text: str
    first: int
    last: int

    def blocks(self, size: int) -> int:
        """How many blocks it has; one that is smaller than a block has none."""
        return (self.last - self.first + 1) // size

    def used(self, size: int, blocks: Sequence[_Block]) -> int:
        """How many of them somebody has, in whole or in part."""
        taken: set[int] = set()
        for block in blocks:
            if block.first <= self.last and self.first <= block.last:
                begin, end = max(block.first, self.first) - self.first, min(block.last, self.last) - self.first
                taken.update(range(begin // size, end // size + 1))
        return min(len(taken), self.blocks(size))


def evaluate_ipam(observation: Observation, raw_spec: object) -> IpamUsage | None:
    """Judge the pools that run, None where none is known; what to append is found by what the spec declares."""
    runs = running(observation)
    mask, pools = runs.mask_size, [_Pool(text, *found) for text in runs.pod_cidrs if (found := _range(text))]
    if not pools or mask is None or mask > _BITS:
        return None
    blocks, size = list(_blocks(observation)), 1 << (_BITS - mask)
    room = [pool.blocks(size) for pool in pools]
    used = [pool.used(size, blocks) for pool in pools]
    free = sum(room) - sum(used)
    ipam = Ipam(
        node_blocks=NodeBlocks(total=sum(room), used=sum(used), free=free),
        pods_per_node=max(size - RESERVED, 0),
        exhausted=tuple(pool.text for pool, has, gave in zip(pools, room, used, strict=True) if has == gave),
    )
    without = sorted(name for name in observation.nodes if not _has_block(observation, name))
    forecast = ""
    if free * _ENOUGH < ipam.node_blocks.total or free < len(without):
        forecast = (
            f"{_left(ipam.node_blocks, without)}: {_what_to_do(observation, read_lenient_spec(raw_spec), pools, mask)}"
        )
    return IpamUsage(ipam, forecast, (*_outside(blocks, pools), *_shared(blocks)))


def _has_block(observation: Observation, name: str) -> bool:
    cilium_node = observation.cilium_nodes.get(name)
    return cilium_node is not None and bool(cilium_node.pod_cidrs)


@lru_cache(maxsize=16_384)
def _range(text: str) -> Range | None:
    """Read a CIDR; kept, since thousands of blocks are the same in each pass."""
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        return None
    return int(network.network_address), int(network.broadcast_address)


def _blocks(observation: Observation) -> Iterator[_Block]:
    for name, cilium_node in observation.cilium_nodes.items():
        for text in cilium_node.pod_cidrs:
            if (found := _range(text)) is not None:
                yield _Block(name, text, *found)


def _left(blocks: NodeBlocks, without: Sequence[str]) -> str:
    if blocks.free == 0:
        told = f"no block of pod addresses is left of {blocks.total}"
    else:
        told = f"{blocks.free} of {blocks.total} blocks of pod addresses {'is' if blocks.free == 1 else 'are'} left"
    return f"{told}, and {list_names(without)} {'has' if len(without) == 1 else 'have'} none" if without else told


def _what_to_do(observation: Observation, spec: LenientSpec, pools: Sequence[_Pool], mask: int) -> str:
    run = {pool.text for pool in pools}
    if added := [cidr.text for cidr, _ in spec.pools() if cidr.text not in run]:
        return f"spec.ipam.podCIDRs has {list_names(added)}, still to be released"
    if len(pools) >= MAX_CIDRS:
        return f"spec.ipam.podCIDRs has room for {MAX_CIDRS} CIDRs and no more"
    used = [(block.first, block.last) for block in _blocks(observation)]
    used += [(pool.first, pool.last) for pool in pools]
    found = free_network(observation, spec, used, mask)
    if found is not None:
        return f"append a CIDR to spec.ipam.podCIDRs, such as {found}"
    if spec.declared("remotePodCIDRs"):
        return (
            "no room is left in spec.networks.remotePodCIDRs: add a network to the EKS cluster's remote pod networks "
            "and to that list, and append it to spec.ipam.podCIDRs"
        )
    return "append a CIDR to spec.ipam.podCIDRs"


def _outside(blocks: Sequence[_Block], pools: Sequence[_Pool]) -> Iterator[str]:
    """Cilium's operator reserves no block outside its pools, and may give away what overlaps it."""
    outside = [b for b in blocks if not any(pool.first <= b.first and b.last <= pool.last for pool in pools)]
    if outside:
        told = list_names([f"{block.text} of CiliumNode {block.node}" for block in _by_name(outside)])
        yield (
            f"outside of every pool: {told}: drain the node and delete its CiliumNode, "
            "or append the CIDR of the block to spec.ipam.podCIDRs"
        )


def _shared(blocks: Sequence[_Block]) -> Iterator[str]:
    """Two nodes with the same addresses take the traffic of one another's pods."""
    ordered = sorted(blocks, key=lambda block: (block.first, -block.last, block.node))
    shared = []
    for widest, block in _with_the_widest_before(ordered):
        if block.first <= widest.last and block.node != widest.node:
            shared.append(f"{block.text} of CiliumNode {block.node} with {widest.text} of {widest.node}")
    if shared:
        yield f"blocks overlap: {list_names(shared)}: drain one of the nodes, delete its CiliumNode and restart its agent"


def _with_the_widest_before(ordered: Sequence[_Block]) -> Iterator[tuple[_Block, _Block]]:
    """Each block with the one before it that reaches farthest."""
    widest: _Block | None = None
    for block in ordered:
        if widest is not None:
            yield widest, block
        if widest is None or block.last > widest.last:
            widest = block


def _by_name(blocks: Sequence[_Block]) -> list[_Block]:
    return sorted(blocks, key=lambda block: (block.node, block.first))
