"""The validation rules of the CRD in CEL: an expression, a message and a field path each."""

from cilium_hybrid.api.schema import Rule

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
_IN_A_PRIVATE_NETWORK = " || ".join(f"cidr('{network}').containsCIDR(cidr(self))" for network in PRIVATE)


def _ipv4(name: str) -> str:
    """Return a guard for the other rules: an expression that fails on a non-IPv4 CIDR would be a second error."""
    return f"(isCIDR({name}) && cidr({name}).ip().family() == 4)"


def _overlap(one: str, other: str) -> str:
    return f"(cidr({one}).containsCIDR(cidr({other})) || cidr({other}).containsCIDR(cidr({one})))"


CIDR_RULES = (
    (_ipv4("self"), "must be an IPv4 CIDR such as 10.85.0.0/16"),
    (
        f"!{_ipv4('self')} || cidr(self) == cidr(self).masked()",
        "has host bits set; use the first address of the network",
    ),
)
POD_CIDR_RULES = (
    *CIDR_RULES,
    (
        f"!{_ipv4('self')} || {_IN_A_PRIVATE_NETWORK}",
        "must be inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10",
    ),
)
POD_CIDRS_RULES = (
    (
        f"self.all(a, !{_ipv4('a')} || self.filter(b, {_ipv4('b')} && {_overlap('a', 'b')}).size() == 1)",
        "must not overlap each other, because two nodes could get the same block",
    ),
)
IPAM_RULES = (
    (
        f"self.podCIDRs.all(c, !{_ipv4('c')} || cidr(c).prefixLength() <= self.maskSize)",
        "each pod CIDR must be at least as large as a node block; its prefix length must be at most maskSize",
        ".podCIDRs",
    ),
)
# Rules also run on writes to the status. A refused one would silence the operator, so rules that compare the spec with
# the cluster judge only edits of the fields that they are about.
_APPLIED = "oldSelf.status.ipam.applied"
_NOTHING_APPLIED = f"!has(oldSelf.status) || !has(oldSelf.status.ipam) || !has({_APPLIED}) || !has({_APPLIED}.podCIDRs)"
_SAME_IPAM = "self.spec.ipam == oldSelf.spec.ipam"
_SAME_NETWORKS = (
    "has(self.spec.networks) == has(oldSelf.spec.networks) && "
    "(!has(self.spec.networks) || self.spec.networks == oldSelf.spec.networks)"
)
_OBSERVED = "has(self.status) && has(self.status.conditions)"
"""Whether the operator has written the status; until then, an edit is judged like a new resource."""


def _added_cidr_rules(field: str, condition: str, message: str) -> tuple[Rule, Rule]:
    """Return two rules on pod CIDRs `p` and a list of networks: for a new resource, and for an edit.

    A pod CIDR that is applied cannot be removed; the operator only warns if it overlaps a network.
    """
    given = f"!has(self.spec.networks) || !has(self.spec.networks.{field})"
    each = f"!{_ipv4('p')} || {condition}"
    return (
        (
            f"{_OBSERVED} || {given} || self.spec.ipam.podCIDRs.all(p, {each})",
            f"{message} (spec.networks.{field})",
            ".spec.ipam.podCIDRs",
        ),
        (
            (
                f"({_SAME_IPAM} && {_SAME_NETWORKS}) || !({_OBSERVED}) || {given} || "
                f"self.spec.ipam.podCIDRs.all(p, (!({_NOTHING_APPLIED}) && p in {_APPLIED}.podCIDRs) || {each})"
            ),
            f"added {message} (spec.networks.{field})",
            ".spec.ipam.podCIDRs",
        ),
    )


def _no_overlap_rules(field: str, kind: str) -> tuple[Rule, Rule]:
    clear = f"self.spec.networks.{field}.all(n, !{_ipv4('n')} || !{_overlap('p', 'n')})"
    return _added_cidr_rules(field, clear, f"podCIDRs must not overlap {kind}")


def resource_rules(name: str) -> tuple[Rule, ...]:
    """Return the rules on a CiliumHybrid; `name` is the only one allowed."""
    return (
        (
            f"self.metadata.name == '{name}'",
            f"must be {name!r}, because a cluster has one CNI",
            ".metadata.name",
        ),
        (
            (
                f"{_SAME_IPAM} || {_NOTHING_APPLIED} || {_APPLIED}.podCIDRs.all(c, "
                f"self.spec.ipam.podCIDRs.indexOf(c) == {_APPLIED}.podCIDRs.indexOf(c))"
            ),
            "podCIDRs is append-only; keep existing entries in order, because nodes have blocks in them",
            ".spec.ipam.podCIDRs",
        ),
        (
            (
                f"{_SAME_IPAM} || {_NOTHING_APPLIED} || !has({_APPLIED}.maskSize) || "
                f"self.spec.ipam.maskSize == {_APPLIED}.maskSize"
            ),
            "maskSize is immutable, because all node blocks have this size",
            ".spec.ipam.maskSize",
        ),
        *_no_overlap_rules("nodeCIDRs", "the remote node networks"),
        *_no_overlap_rules("vpcCIDRs", "the VPC CIDRs"),
        *_no_overlap_rules("serviceCIDRs", "the Service CIDRs"),
        *_added_cidr_rules(
            "remotePodCIDRs",
            (
                f"!self.spec.networks.remotePodCIDRs.exists(n, {_ipv4('n')}) || "
                f"self.spec.networks.remotePodCIDRs.exists(n, {_ipv4('n')} && cidr(n).containsCIDR(cidr(p)))"
            ),
            "podCIDRs must be inside the remote pod networks, which the cluster routes to pods",
        ),
    )
