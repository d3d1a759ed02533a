"""Rules of a spec against the live cluster: who has the addresses, what the nodes can run, who else is there."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Rule, Violation, all_violations
from cilium_hybrid.rules.spec import ValidationResult, of_added
from cilium_hybrid.rules.supported_minors import is_at_least, kernel_of

NAMED: Final = 3
"""So many names stand in one message; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Addresses that somebody has, first and last as integers."""

    owner: str
    first: int
    last: int

    @classmethod
    def of(cls, owner: str, text: str) -> "Taken | None":
        """Read an address or a CIDR; None where it is no IPv4."""
        try:
            network = IPv4Network(text, strict=False)
        except ValueError:
            return None
        return cls(owner, int(network.network_address), int(network.broadcast_address))

    def __str__(self) -> str:
        networks = IPv4Network((self.first, 32 - (self.last - self.first).bit_length()))
        return f"{str(networks).removesuffix('/32')}, {self.owner}"


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The cluster around a spec. `kernels` are of hybrid nodes, `foreign_cni` are pods on them, by node."""

    taken: Sequence[Taken] = ()
    blocks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    kernels: Mapping[str, str] = field(default_factory=dict)
    foreign_cni: Mapping[str, str] = field(default_factory=dict)
    peering_policies: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SpecInCluster:
    """A spec, what runs, and the cluster around both."""

    spec: LenientSpec
    running: Running
    cluster: ClusterFacts


def pod_cidrs_keep_clear_of_addresses_in_use(case: SpecInCluster) -> Iterator[Violation]:
    """Whoever has an address of a pool is cut off from every hybrid node."""
    for cidr, network in case.spec.pools():
        first, last = int(network.network_address), int(network.broadcast_address)
        found = [str(taken) for taken in case.cluster.taken if taken.first <= last and first <= taken.last]
        if found:
            yield Violation(
                Reason.POD_CIDR_OVERLAP,
                cidr.path,
                f"{network} holds addresses that are in use: {_some(found, '; ')}",
                "take a CIDR that nothing else uses",
            )


def blocks_in_use_stay(case: SpecInCluster) -> Iterator[Violation]:
    """A node keeps its block, whatever became of the release: a pool that does not hold it would give it away again."""
    if case.running.pod_cidrs and case.running.mask_size is not None:
        # The rules on changes hold it to what runs; there may be thousands of blocks.
        return
    pools = [(int(n.network_address), int(n.broadcast_address)) for _, n in case.spec.pools()]
    outside: dict[str, str] = {}
    cut: dict[int, str] = {}
    for node, texts in case.cluster.blocks.items():
        for block in filter(None, (Taken.of(node, text) for text in texts)):
            if not any(first <= block.first and block.last <= last for first, last in pools):
                outside[node] = str(block).partition(",")[0]
            length = 32 - (block.last - block.first).bit_length()
            cut.setdefault(length, node)
    if outside and pools and not case.running.pod_cidrs:
        yield Violation(
            Reason.POD_CIDR_REMOVED,
            "spec.ipam.podCIDRs",
            f"{_counted('node has a block', 'nodes have blocks', len(outside))} outside of them: "
            f"{_some([f'{block} of CiliumNode {node}' for node, block in outside.items()])}",
            "put the CIDR of those blocks back, or delete those CiliumNodes where Cilium runs no longer",
        )
    mask = case.spec.mask_size
    others = [(length, node) for length, node in cut.items() if mask is not None and length != mask]
    if others and case.running.mask_size is None:
        length, node = others[0]
        yield Violation(
            Reason.MASK_CHANGED,
            "spec.ipam.maskSize",
            f"cannot be {mask}, because the block of CiliumNode {node} was cut to /{length}",
            f"write {length}, or delete the CiliumNodes where Cilium runs no longer",
        )


def kernels_are_new_enough(case: SpecInCluster) -> Iterator[Violation]:
    """Agents of Cilium 1.18 and later do not start on kernels before 5.10 (Cilium's upgrade guide; AWS guide)."""
    version = case.spec.version
    asked = None if version is None else kernel_of(version)
    if version is None or asked is None or case.running.version == str(version):
        return
    old = [f"{node} ({kernel})" for node, kernel in case.cluster.kernels.items() if _older(kernel, asked)]
    if old:
        yield Violation(
            Reason.KERNEL_TOO_OLD,
            "spec.version",
            f"{version} needs Linux {asked[0]}.{asked[1]} on every hybrid node, and {_some(old)} "
            f"{'has' if len(old) == 1 else 'have'} an older one",
            "upgrade the operating system of those nodes, or stay on 1.17",
        )


def no_other_cni_is_there(case: SpecInCluster) -> Iterator[Violation]:
    """Two CNIs on a node take the pods' traffic from one another."""
    found = [f"{pod} on {node}" for node, pod in case.cluster.foreign_cni.items()]
    if found:
        yield Violation(
            Reason.FOREIGN_CNI,
            "spec",
            f"another CNI has pods on hybrid nodes: {_some(found)}",
            "keep it off them by a node affinity, or take it away",
        )


def peering_policies_were_migrated(case: SpecInCluster) -> Iterator[Violation]:
    """Cilium 1.19 took CiliumBGPPeeringPolicy away: its sessions would end (Cilium's upgrade guide, 1.19)."""
    version, found = case.spec.version, case.cluster.peering_policies
    if found and version is not None and is_at_least(version, "1.19"):
        yield Violation(
            Reason.VERSION_UNSUPPORTED,
            "spec.version",
            f"{version} knows no CiliumBGPPeeringPolicy, and there {'is' if len(found) == 1 else 'are'} {_some(found)}",
            "write them anew as CiliumBGPClusterConfig and delete them, or stay below 1.19",
        )


CLUSTER_RULES: Final[tuple[Rule[SpecInCluster], ...]] = (
    blocks_in_use_stay,
    kernels_are_new_enough,
    no_other_cni_is_there,
    peering_policies_were_migrated,
)
ADDED_CIDR_CLUSTER_RULES: Final[tuple[Rule[SpecInCluster], ...]] = (pod_cidrs_keep_clear_of_addresses_in_use,)
"""Rules that only a CIDR that does not run yet can break."""


def validate_in_cluster(case: SpecInCluster) -> ValidationResult:
    """What the cluster has against a spec; an overlap with a pool that runs is found and told, and blocks nothing."""
    overlaps = all_violations(ADDED_CIDR_CLUSTER_RULES, case)
    return of_added(overlaps, case.spec, case.running) + ValidationResult(all_violations(CLUSTER_RULES, case))


def _some(names: Sequence[str], separator: str = ", ") -> str:
    more = len(names) - NAMED
    return separator.join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _counted(one: str, many: str, number: int) -> str:
    return f"{number} {one if number == 1 else many}"


def _older(kernel: str, asked: tuple[int, int]) -> bool:
    """Whether a kernel such as 4.18.0-553.el8 is older; one that cannot be read is not."""
    match = re.match(r"(\d+)\.(\d+)", kernel)
    return match is not None and (int(match[1]), int(match[2])) < asked


def all_taken(entries: Iterable[tuple[str, str]]) -> tuple[Taken, ...]:
    """Owners and addresses as they are found, without those that are no IPv4."""
    return tuple(taken for owner, text in entries if (taken := Taken.of(owner, text)) is not None)
