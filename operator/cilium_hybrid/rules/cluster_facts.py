"""What rules know about a live cluster."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.lenient_spec import LenientSpec


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses in use, first and last as integers, and what uses them."""

    owner: str
    first: int
    last: int

    @classmethod
    def parse(cls, owner: str, text: str) -> "AddressRange | None":
        """Parse an address or a CIDR; None if it is not IPv4."""
        try:
            network = IPv4Network(text, strict=False)
        except ValueError:
            return None
        return cls(owner, int(network.network_address), int(network.broadcast_address))

    @property
    def prefix_length(self) -> int:
        """The prefix length of the range as a CIDR."""
        return 32 - (self.last - self.first).bit_length()

    @property
    def cidr(self) -> str:
        """The range as a CIDR, or as an address if it is only one."""
        return str(IPv4Network((self.first, self.prefix_length))).removesuffix("/32")

    def __str__(self) -> str:
        return f"{self.cidr}, {self.owner}"


def parse_address_ranges(entries: Iterable[tuple[str, str]]) -> tuple[AddressRange, ...]:
    """Return the ranges of pairs of owner and address or CIDR, without those that are not IPv4."""
    return tuple(found for owner, text in entries if (found := AddressRange.parse(owner, text)) is not None)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What rules know about a cluster; all facts are empty without one.

    `blocks` are those of CiliumNodes, `kernels` and `max_pods` (of the kubelet) those of hybrid nodes, and
    `foreign_cni` pods of another CNI on hybrid nodes, each by node. `foreign_objects` would run another CNI on hybrid
    nodes, `other_ciliums` are of a Cilium that the operator did not create; each names its kind, namespace and name.
    """

    used_addresses: Sequence[AddressRange] = ()
    blocks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    kernels: Mapping[str, str] = field(default_factory=dict)
    max_pods: Mapping[str, int] = field(default_factory=dict)
    foreign_cni: Mapping[str, str] = field(default_factory=dict)
    foreign_objects: Sequence[str] = ()
    other_ciliums: Sequence[str] = ()
    peering_policies: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ClusterRuleInput:
    """A spec, the Cilium that runs, and the cluster."""

    spec: LenientSpec
    running: Running
    cluster: ClusterFacts
