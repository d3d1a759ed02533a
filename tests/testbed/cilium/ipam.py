"""Cluster-pool address blocks, given out as Cilium's operator does: the first pool with a free block."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network


@dataclass(frozen=True, slots=True)
class Pools:
    """What `cilium-config` said when an operator pod started."""

    cidrs: tuple[IPv4Network, ...]
    mask: int

    @classmethod
    def parse(cls, cidrs: str, mask: str) -> "Pools":
        """Read the two keys of `cilium-config`; host bits are masked away, as Cilium does."""
        return cls(tuple(IPv4Network(cidr, strict=False) for cidr in cidrs.split()), int(mask))


@dataclass(slots=True)
class Blocks:
    """Which node has which blocks, observed or promised."""

    _of_node: dict[str, tuple[IPv4Network, ...]] = field(default_factory=dict)
    _taken: set[IPv4Network] = field(default_factory=set)

    def set(self, node: str, cidrs: Sequence[str]) -> None:
        """Note the blocks of a node, in place of those known before."""
        self.free(node)
        self._of_node[node] = tuple(IPv4Network(cidr) for cidr in cidrs)
        self._taken.update(self._of_node[node])

    def free(self, node: str) -> None:
        """Take a node's blocks back."""
        self._taken.difference_update(self._of_node.pop(node, ()))

    def allocate(self, pools: Pools) -> IPv4Network | None:
        """Return a free block of the first pool that has one; a pool smaller than a block has none."""
        taken = {int(block.network_address) for block in self._taken if block.prefixlen == pools.mask}
        others = [block for block in self._taken if block.prefixlen != pools.mask]
        size = 1 << (32 - pools.mask)
        for pool in pools.cidrs:
            first = int(pool.network_address)
            for start in range(first, first + pool.num_addresses - size + 1, size):
                block = IPv4Network((start, pools.mask)) if start not in taken else None
                if block and not any(block.overlaps(other) for other in others):
                    return block
        return None
