"""Node blocks that can be recovered, because the node that has them is away or gone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.rules.text import list_names

_NAMED: Final = 2
"""How many blocks a message names."""


@dataclass(frozen=True, slots=True)
class HeldBlock:
    """A block of a CiliumNode whose node does not report since a time, or which has no node if that is None."""

    node: str
    text: str
    since: datetime | None


def held_blocks(observation: Observation, absent: Mapping[str, datetime]) -> list[HeldBlock]:
    """Return the blocks of nodes that do not report, the longest absent first, then those without a node.

    `absent` are the nodes that do not report, with the time when that was first observed. A node that lost the label of
    hybrid nodes still exists, so its block is in use.
    """
    held = [
        HeldBlock(name, block, absent.get(name))
        for name, cilium_node in observation.cilium_nodes.items()
        if name in absent or (name not in observation.nodes and name not in observation.cloud_nodes)
        for block in cilium_node.pod_cidrs
    ]
    return sorted(held, key=lambda block: (block.since is None, block.since or 0, block.node, block.text))


def describe_held_blocks(held: Sequence[HeldBlock], now: datetime) -> Iterator[str]:
    """Yield who holds which block, with what to do about it: a clause on nodes, and one on CiliumNodes without one."""
    away = [
        f"{block.text} is held by {block.node}, not seen since {_time(block.since, now)}"
        for block in held
        if block.since is not None
    ]
    gone = [f"{block.text} is held by CiliumNode {block.node}" for block in held if block.since is None]
    if away:
        which = "the node if it is gone" if len(away) == 1 else "those of these nodes that are gone"
        yield f"{list_names(away, _NAMED)}; delete {which}"
    if gone:
        without = "which has no node; delete it" if len(gone) == 1 else "which have no node; delete them"
        yield f"{list_names(gone, _NAMED)}, {without}"


def _time(moment: datetime, now: datetime) -> str:
    return f"{moment:%H:%MZ}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%MZ}"
