"""Cluster-pool IPAM, allocated as the Cilium operator does: from the first pool with a free block."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools in `cilium-config` at the time an operator pod started."""

    cidrs: tuple[IPv4Network, ...]
    mask: int

    @classmethod
    def parse(cls, cidrs: str, mask: str) -> "Pools":
        """Parse the two keys of `cilium-config`; host bits are ignored, as in Cilium."""
        return cls(tuple(IPv4Network(cidr, strict=False) for cidr in cidrs.split()), int(mask))


@dataclass(slots=True)
class Blocks:
    """The blocks of each node, whether observed or just allocated."""

    _by_node: dict[str, tuple[IPv4Network, ...]] = field(default_factory=dict)
    _used: set[IPv4Network] = field(default_factory=set)

    def set(self, node: str, cidrs: Sequence[str]) -> None:
        """Replace the blocks of a node."""
        self.free(node)
        self._by_node[node] = tuple(IPv4Network(cidr) for cidr in cidrs)
        self._used.update(self._by_node[node])

    def free(self, node: str) -> None:
        """Free the blocks of a node."""
        self._used.difference_update(self._by_node.pop(node, ()))

    def allocate(self, pools: Pools) -> IPv4Network | None:
        """Return a free block of the first pool that has one, None if all pools are exhausted."""
        used = {int(block.network_address) for block in self._used if block.prefixlen == pools.mask}
        others = [block for block in self._used if block.prefixlen != pools.mask]
        size = 1 << (32 - pools.mask)
        for pool in pools.cidrs:
            first = int(pool.network_address)
            for start in range(first, first + pool.num_addresses - size + 1, size):
                block = IPv4Network((start, pools.mask)) if start not in used else None
                if block and not any(block.overlaps(other) for other in others):
                    return block
        return None
