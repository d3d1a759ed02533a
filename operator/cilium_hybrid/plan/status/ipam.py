"""Pod addresses: how many node blocks the pools have, which nodes use them, and what to append before none is free."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cilium_hybrid.api.fields import MAX_CIDRS
from cilium_hybrid.api.status import AppliedIpam, Ipam, NodeBlocks
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.running import running
from cilium_hybrid.plan.status.free_cidr import find_free_network
from cilium_hybrid.plan.status.held_blocks import describe_held_blocks, held_blocks
from cilium_hybrid.rules.cidrs import address_range, canonical_cidr, pods_per_node
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.text import list_names

_BITS: Final = 32
_MIN_FREE_FRACTION: Final = 10
"""At least a tenth of the node blocks should be free."""


@dataclass(frozen=True, slots=True)
class IpamUsage:
    """The usage of the pools. `forecast` is set if too few node blocks are free; `findings` are inconsistencies."""

    ipam: Ipam
    forecast: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Block:
    """A node block and its CiliumNode."""

    node: str
    text: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Pool:
    """A CIDR that the Cilium operator divides into node blocks."""

    text: str
    first: int
    last: int

    def blocks(self, size: int) -> int:
        """Return the number of node blocks; 0 if the pool is smaller than a block."""
        return (self.last - self.first + 1) // size

    def overlaps(self, text: str) -> bool:
        """Whether a node block has addresses of this pool."""
        found = address_range(text)
        return found is not None and found[0] <= self.last and self.first <= found[1]

    def used(self, size: int, blocks: Sequence[_Block]) -> int:
        """Return the number of node blocks that are in use, in whole or in part."""
        used: set[int] = set()
        for block in blocks:
            if block.first <= self.last and self.first <= block.last:
                begin, end = max(block.first, self.first) - self.first, min(block.last, self.last) - self.first
                used.update(range(begin // size, end // size + 1))
        return min(len(used), self.blocks(size))


def evaluate_ipam(
    observation: Observation,
    spec: LenientSpec,
    now: datetime,
    *,
    advise: bool = True,
    announced: Record | None = None,
    absent: Mapping[str, datetime] = MappingProxyType({}),
) -> IpamUsage | None:
    """Return the usage of the running pools, None if no pool is known.

    `spec` limits which CIDR is suggested. `announced` has the pools that are about to be applied: they count as applied
    from now on, because an interrupted Helm may have applied them. `absent` are the nodes that do not report, with the
    time when that was first observed. Without `advise`, there is neither forecast nor finding.
    """
    runs = running(observation, [cidr.text for cidr, _ in spec.pools()])
    coming = () if announced is None else tuple(map(canonical_cidr, announced.pod_cidrs))
    applied = _pools(dict.fromkeys([*runs.pod_cidrs, *coming]))
    pools = _pools(runs.pod_cidrs) or applied
    mask = announced.mask_size if runs.mask_size is None and announced is not None else runs.mask_size
    if not pools or mask is None or mask > _BITS:
        return None
    blocks, size = list(_blocks(observation)), 1 << (_BITS - mask)
    total = [pool.blocks(size) for pool in pools]
    used = [pool.used(size, blocks) for pool in pools]
    free = sum(total) - sum(used)
    ipam = Ipam(
        applied=AppliedIpam(pod_cidrs=tuple(pool.text for pool in applied[:MAX_CIDRS]), mask_size=mask),
        node_blocks=NodeBlocks(total=sum(total), used=sum(used), free=free),
        pods_per_node=pods_per_node(mask),
        exhausted=tuple(p.text for p, p_total, p_used in zip(pools, total, used, strict=True) if p_total == p_used),
    )
    if not advise:
        return IpamUsage(ipam)
    without_block = sorted(name for name in observation.nodes if not _has_block(observation, name))
    forecast = ""
    if free * _MIN_FREE_FRACTION < ipam.node_blocks.total or free < len(without_block):
        held = [block for block in held_blocks(observation, absent) if any(pool.overlaps(block.text) for pool in pools)]
        held_by = {block.node for block in held}
        kept = [block for block in blocks if block.node not in held_by]
        recoverable = sum(used) - sum(pool.used(size, kept) for pool in pools)
        shortage = _shortage(ipam.node_blocks, recoverable, without_block)
        advice = _fix(observation, spec, pools, mask, append="or append" if held else "append")
        forecast = "; ".join([shortage, *describe_held_blocks(held, now), advice])
    return IpamUsage(ipam, forecast, (*_outside(blocks, pools), *_overlapping(blocks)))


def _has_block(observation: Observation, name: str) -> bool:
    cilium_node = observation.cilium_nodes.get(name)
    return cilium_node is not None and bool(cilium_node.pod_cidrs)


def _blocks(observation: Observation) -> Iterator[_Block]:
    for name, cilium_node in observation.cilium_nodes.items():
        for text in cilium_node.pod_cidrs:
            if (found := address_range(text)) is not None:
                yield _Block(name, text, *found)


def _pools(cidrs: Iterable[str]) -> list[_Pool]:
    return [_Pool(text, *found) for text in cidrs if (found := address_range(text)) is not None]


def _shortage(blocks: NodeBlocks, recoverable: int, without_block: Sequence[str]) -> str:
    free = f"{blocks.free} of {blocks.total} node blocks {'is' if blocks.free == 1 else 'are'} free"
    if recoverable:
        free += f" ({recoverable} can be recovered)"
    if not without_block:
        return free
    return f"{free} and {list_names(without_block)} {'has' if len(without_block) == 1 else 'have'} no node block"


def _fix(observation: Observation, spec: LenientSpec, pools: Sequence[_Pool], mask: int, *, append: str) -> str:
    deployed = {pool.text for pool in pools}
    if added := [cidr.text for cidr, _ in spec.pools() if canonical_cidr(cidr.text) not in deployed]:
        return f"{list_names(added)} in spec.ipam.podCIDRs {'is' if len(added) == 1 else 'are'} not deployed yet"
    if len(pools) >= MAX_CIDRS:
        return f"no CIDR can be appended, because spec.ipam.podCIDRs has its maximum of {MAX_CIDRS}"
    used = [(block.first, block.last) for block in _blocks(observation)]
    used += [(pool.first, pool.last) for pool in pools]
    found = find_free_network(observation, spec, used, mask)
    if found is not None:
        return f"{append} a CIDR to spec.ipam.podCIDRs, such as {found}"
    if spec.declared_networks("remotePodCIDRs"):
        return (
            "spec.networks.remotePodCIDRs has no free range; add a network to the EKS cluster's remote pod networks "
            "and to spec.networks.remotePodCIDRs, and append it to spec.ipam.podCIDRs"
        )
    return f"{append} a CIDR to spec.ipam.podCIDRs"


def _outside(blocks: Sequence[_Block], pools: Sequence[_Pool]) -> Iterator[str]:
    """The Cilium operator does not reserve blocks outside its pools, and may assign overlapping ones."""
    outside = [b for b in blocks if not any(pool.first <= b.first and b.last <= pool.last for pool in pools)]
    if outside:
        names = list_names([f"{block.text} of CiliumNode {block.node}" for block in _by_name(outside)])
        yield (
            f"node blocks outside the pools: {names}; drain the node and delete its CiliumNode, "
            "or append the block's CIDR to spec.ipam.podCIDRs"
        )


def _overlapping(blocks: Sequence[_Block]) -> Iterator[str]:
    """Two nodes with the same addresses receive traffic for each other's pods."""
    ordered = sorted(blocks, key=lambda block: (block.first, -block.last, block.node))
    overlapping = []
    for widest, block in _with_widest_before(ordered):
        if block.first <= widest.last and block.node != widest.node:
            overlapping.append(f"{block.text} of CiliumNode {block.node} with {widest.text} of {widest.node}")
    if overlapping:
        names = list_names(overlapping)
        yield f"node blocks overlap: {names}; drain one of the nodes, delete its CiliumNode and restart its agent"


def _with_widest_before(ordered: Sequence[_Block]) -> Iterator[tuple[_Block, _Block]]:
    """Yield each block with the earlier one that reaches farthest."""
    widest: _Block | None = None
    for block in ordered:
        if widest is not None:
            yield widest, block
        if widest is None or block.last > widest.last:
            widest = block


def _by_name(blocks: Sequence[_Block]) -> list[_Block]:
    return sorted(blocks, key=lambda block: (block.node, block.first))
