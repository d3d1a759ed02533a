"""Rules on a spec in a live cluster: addresses in use, what the nodes can run, other CNIs, and their kubelets."""

import re
from collections.abc import Iterator
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.fields import MAX_MASK_SIZE, MIN_MASK_SIZE
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.cidrs import pods_per_node
from cilium_hybrid.rules.cluster_facts import AddressRange, ClusterFacts, ClusterRuleInput, parse_address_ranges
from cilium_hybrid.rules.foreign_cni import FOREIGN_CNI_RULES
from cilium_hybrid.rules.lenient_spec import read_lenient_spec
from cilium_hybrid.rules.rule import Rule, Violation, all_violations
from cilium_hybrid.rules.spec import ValidationResult, refuse_only_added_cidrs, validate_spec
from cilium_hybrid.rules.supported_minors import first_minor, minor_of
from cilium_hybrid.rules.text import count_of, list_names

BGP_PEERING_POLICY: Final = "CiliumBGPPeeringPolicy"
_BGP_CLUSTER_CONFIG: Final = "CiliumBGPClusterConfig"
"""What replaces it."""
DEFAULT_MAX_PODS: Final = 110
"""maxPods of a kubelet that does not set it (kubernetes.io, KubeletConfiguration v1beta1)."""


def pod_cidrs_contain_no_used_addresses(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """Hybrid nodes cannot reach anything outside Cilium that has an address in a pod CIDR."""
    for cidr, network in inputs.spec.pools():
        first, last = int(network.network_address), int(network.broadcast_address)
        found = [str(used) for used in inputs.cluster.used_addresses if used.first <= last and first <= used.last]
        if found:
            yield Violation(
                Reason.POD_CIDR_OVERLAP,
                cidr.path,
                f"{network} contains addresses in use: {list_names(found, separator='; ')}",
                "use a CIDR that nothing else uses",
            )


def node_blocks_are_in_pod_cidrs(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """A node keeps its block even without a release; a pool that does not contain it would assign it again."""
    if inputs.running.pod_cidrs:
        # The rules on changes keep these; there may be thousands of blocks.
        return
    pools = [(int(n.network_address), int(n.broadcast_address)) for _, n in inputs.spec.pools()]
    outside: dict[str, str] = {}
    for block in _blocks(inputs.cluster):
        if not any(first <= block.first and block.last <= last for first, last in pools):
            outside[block.owner] = block.cidr
    if outside and pools:
        blocks = list_names([f"{block} of CiliumNode {node}" for node, block in outside.items()])
        yield Violation(
            Reason.POD_CIDR_REMOVED,
            "spec.ipam.podCIDRs",
            f"{count_of(len(outside), 'node has a block', 'nodes have blocks')} outside these CIDRs: {blocks}",
            "restore the CIDR of these blocks, or delete the CiliumNodes of nodes that no longer run Cilium",
        )


def mask_size_matches_node_blocks(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """Blocks of another size would overlap those that nodes still have."""
    mask = inputs.spec.mask_size
    if mask is None or inputs.running.mask_size is not None:
        return
    for block in _blocks(inputs.cluster):
        if block.prefix_length != mask:
            yield Violation(
                Reason.MASK_CHANGED,
                "spec.ipam.maskSize",
                f"Invalid value: {mask}: the block of CiliumNode {block.owner} is a /{block.prefix_length}",
                f"use {block.prefix_length}, or delete the CiliumNodes of nodes that no longer run Cilium",
            )
            return


def _blocks(cluster: ClusterFacts) -> Iterator[AddressRange]:
    for node, texts in cluster.blocks.items():
        yield from parse_address_ranges((node, text) for text in texts)


def kernels_are_new_enough(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """Agents do not start on a kernel older than their minor requires (Cilium's upgrade guide; AWS guide)."""
    version = inputs.spec.version
    required = None if version is None else minor_of(version).kernel
    if version is None or required is None or inputs.running.version == str(version):
        return
    old = {node: kernel for node, kernel in inputs.cluster.kernels.items() if _is_older(kernel, required)}
    if old:
        too_new = first_minor(lambda minor: any(_is_older(kernel, minor.kernel) for kernel in old.values()))
        named = list_names([f"{node} ({kernel})" for node, kernel in old.items()])
        yield Violation(
            Reason.KERNEL_TOO_OLD,
            "spec.version",
            f"{version} needs Linux {required[0]}.{required[1]} or newer on every hybrid node, but "
            f"{named} {'has' if len(old) == 1 else 'have'} an older kernel",
            f"upgrade the operating system of these nodes, or stay below {too_new}",
        )


def bgp_peering_policies_are_migrated(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """A minor that removed CiliumBGPPeeringPolicy ends its BGP sessions (Cilium's upgrade guide)."""
    version, found = inputs.spec.version, inputs.cluster.peering_policies
    if found and version is not None and BGP_PEERING_POLICY in minor_of(version).removed_crds:
        removed_in = first_minor(lambda minor: BGP_PEERING_POLICY in minor.removed_crds)
        # They are replaced before the upgrade, so with the API version of the Cilium that runs.
        present = version if inputs.running.version is None else CiliumVersion.parse(inputs.running.version)
        api_version = minor_of(present).api_versions.get(_BGP_CLUSTER_CONFIG)
        replacement = _BGP_CLUSTER_CONFIG + (f" ({api_version})" if api_version else "")
        yield Violation(
            Reason.VERSION_UNSUPPORTED,
            "spec.version",
            f"{version} does not support {BGP_PEERING_POLICY}, and the cluster has {list_names(found)}",
            f"replace them with {replacement} and delete them, or stay below {removed_in}",
        )


def node_blocks_have_room_for_max_pods(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """Pods that the scheduler places on a node without a free address stay in ContainerCreating.

    Without a node that reports its maxPods, the kubelet's default is assumed.
    """
    mask, installed = inputs.spec.mask_size, inputs.running.mask_size
    if mask is None or not MIN_MASK_SIZE <= mask <= MAX_MASK_SIZE or installed not in {None, mask}:
        return
    room, max_pods = pods_per_node(mask), inputs.cluster.max_pods
    short = [f"{node} ({number})" for node, number in sorted(max_pods.items()) if number > room]
    if short or (not max_pods and room < DEFAULT_MAX_PODS):
        needed = max(max_pods.values(), default=DEFAULT_MAX_PODS)
        kubelets = (
            f"maxPods of the kubelet on {list_names(short)}" if short else f"default maxPods ({DEFAULT_MAX_PODS})"
        )
        yield Violation(
            Reason.INVALID_SPEC,
            "spec.ipam.maskSize",
            f"/{mask} leaves {room} pod addresses on a node, fewer than the {kubelets}",
            _room_fix(room, needed, immutable=installed is not None),
        )


def pools_have_a_block_for_each_node(inputs: ClusterRuleInput) -> Iterator[Violation]:
    """A node without a block never gets ready. Once Cilium runs, `status.ipam` forecasts this."""
    mask, nodes = inputs.spec.mask_size, len(inputs.cluster.kernels)
    if mask is None or not MIN_MASK_SIZE <= mask <= MAX_MASK_SIZE or inputs.running.pod_cidrs:
        return
    pools = [network for _, network in inputs.spec.pools()]
    total = sum(network.num_addresses >> (32 - mask) for network in pools)
    if pools and total < nodes:
        blocks = count_of(total, "node block", "node blocks")
        yield Violation(
            Reason.INVALID_SPEC,
            "spec.ipam.podCIDRs",
            f"{blocks} of /{mask} for {count_of(nodes, 'hybrid node', 'hybrid nodes')}",
            "use a larger CIDR, or append another one",
        )


def _room_fix(room: int, needed: int, *, immutable: bool) -> str:
    fitting = [mask for mask in range(MIN_MASK_SIZE, MAX_MASK_SIZE + 1) if pods_per_node(mask) >= needed]
    if immutable or not fitting:
        return f"set maxPods of the kubelet to {room} or less"
    return f"use {fitting[-1]} or less, or set maxPods of the kubelet to {room} or less"


CLUSTER_RULES: Final[tuple[Rule[ClusterRuleInput], ...]] = (
    *FOREIGN_CNI_RULES,
    node_blocks_are_in_pod_cidrs,
    mask_size_matches_node_blocks,
    kernels_are_new_enough,
    bgp_peering_policies_are_migrated,
)
ADDED_CIDR_CLUSTER_RULES: Final[tuple[Rule[ClusterRuleInput], ...]] = (pod_cidrs_contain_no_used_addresses,)
"""Rules that refuse only pod CIDRs that do not run yet."""
CLUSTER_WARNINGS: Final[tuple[Rule[ClusterRuleInput], ...]] = (
    node_blocks_have_room_for_max_pods,
    pools_have_a_block_for_each_node,
)
"""Rules that warn and never refuse. They are evaluated offline too, with no facts."""


def validate_in_cluster(inputs: ClusterRuleInput) -> ValidationResult:
    """Validate a spec against the cluster; an overlap with a pool that already runs is only a warning."""
    overlaps = all_violations(ADDED_CIDR_CLUSTER_RULES, inputs)
    result = ValidationResult(all_violations(CLUSTER_RULES, inputs), all_violations(CLUSTER_WARNINGS, inputs))
    return refuse_only_added_cidrs(overlaps, inputs.spec, inputs.running) + result


def validate_offline(raw: object) -> ValidationResult:
    """Validate a spec without a cluster."""
    spec = read_lenient_spec(raw)
    inputs = ClusterRuleInput(spec, Running(), ClusterFacts())
    return validate_spec(raw, spec) + ValidationResult((), all_violations(CLUSTER_WARNINGS, inputs))


def _is_older(kernel: str, required: tuple[int, int] | None) -> bool:
    """Whether a kernel such as 4.18.0-553.el8 is older; False if the text cannot be parsed or nothing is required."""
    match = re.match(r"(\d+)\.(\d+)", kernel)
    return match is not None and required is not None and (int(match[1]), int(match[2])) < required
