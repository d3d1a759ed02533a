"""What the API server itself refuses, as rules in CEL: an expression, its words, and where."""

from cilium_hybrid.api.schema import Rule

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
_IN_A_PRIVATE_NETWORK = " || ".join(f"cidr('{network}').containsCIDR(cidr(self))" for network in PRIVATE)


def _ipv4(name: str) -> str:
    """An expression that fails is a refusal too, so each rule leaves alone what the rule on IPv4 refuses."""
    return f"(isCIDR({name}) && cidr({name}).ip().family() == 4)"


def _overlap(one: str, other: str) -> str:
    return f"(cidr({one}).containsCIDR(cidr({other})) || cidr({other}).containsCIDR(cidr({one})))"


CIDR_RULES = (
    (_ipv4("self"), "must be an IPv4 CIDR such as 10.85.0.0/16"),
    (
        f"!{_ipv4('self')} || cidr(self) == cidr(self).masked()",
        "has bits set to the right of its prefix: write the first address of the network",
    ),
)
POD_CIDR_RULES = (
    *CIDR_RULES,
    (
        f"!{_ipv4('self')} || {_IN_A_PRIVATE_NETWORK}",
        "must lie in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10",
    ),
)
POD_CIDRS_RULES = (
    (
        f"self.all(a, !{_ipv4('a')} || self.filter(b, {_ipv4('b')} && {_overlap('a', 'b')}).size() == 1)",
        "must not overlap one another: two nodes could be given the same block",
    ),
)
IPAM_RULES = (
    (
        f"self.podCIDRs.all(c, !{_ipv4('c')} || cidr(c).prefixLength() <= self.maskSize)",
        "each pod CIDR must hold at least one block: its prefix may not be longer than maskSize",
        ".podCIDRs",
    ),
)
PULL_SECRETS_RULES = (
    ("self.all(a, self.filter(b, b.name == a.name).size() == 1)", "must not name the same Secret twice"),
)
_NOTHING_INSTALLED = "!has(oldSelf.status) || !has(oldSelf.status.release)"
_INSTALLED = "has(self.status) && has(self.status.release)"


def _of_added(field: str, holds: str, message: str) -> tuple[Rule, Rule]:
    """A rule on each pod CIDR `p` against a list of networks, of all before the install, of the added ones after it.

    A CIDR that runs could not be taken out again: what it overlaps is told by the operator, and refused by nobody.
    """
    given = f"!has(self.spec.networks) || !has(self.spec.networks.{field})"
    each = f"!{_ipv4('p')} || {holds}"
    return (
        (
            f"{_INSTALLED} || {given} || self.spec.ipam.podCIDRs.all(p, {each})",
            f"{message} (spec.networks.{field})",
            ".spec.ipam.podCIDRs",
        ),
        (
            (
                f"{_NOTHING_INSTALLED} || {given} || "
                f"self.spec.ipam.podCIDRs.all(p, p in oldSelf.spec.ipam.podCIDRs || {each})"
            ),
            f"added {message} (spec.networks.{field})",
            ".spec.ipam.podCIDRs",
        ),
    )


def _clear_of(field: str, whose: str) -> tuple[Rule, Rule]:
    clear = f"self.spec.networks.{field}.all(n, !{_ipv4('n')} || !{_overlap('p', 'n')})"
    return _of_added(field, clear, f"podCIDRs must not overlap {whose}")


def resource_rules(name: str) -> tuple[Rule, ...]:
    """The rules on a whole CiliumHybrid, of which `name` is the only one."""
    return (
        (
            f"self.metadata.name == '{name}'",
            f"a cluster has one CNI: the only CiliumHybrid is named {name!r}",
            ".metadata.name",
        ),
        (
            (
                f"{_NOTHING_INSTALLED} || oldSelf.spec.ipam.podCIDRs.all(c, "
                "self.spec.ipam.podCIDRs.indexOf(c) == oldSelf.spec.ipam.podCIDRs.indexOf(c))"
            ),
            "podCIDRs is append-only: existing entries stay, in order, because nodes hold blocks of them",
            ".spec.ipam.podCIDRs",
        ),
        (
            f"{_NOTHING_INSTALLED} || self.spec.ipam.maskSize == oldSelf.spec.ipam.maskSize",
            "maskSize cannot change: every node's block was cut to it",
            ".spec.ipam.maskSize",
        ),
        *_clear_of("nodeCIDRs", "the nodes' network"),
        *_clear_of("vpcCIDRs", "the VPC"),
        *_clear_of("serviceCIDRs", "the Services' network"),
        *_of_added(
            "remotePodCIDRs",
            (
                f"!self.spec.networks.remotePodCIDRs.exists(n, {_ipv4('n')}) || "
                f"self.spec.networks.remotePodCIDRs.exists(n, {_ipv4('n')} && cidr(n).containsCIDR(cidr(p)))"
            ),
            "podCIDRs must lie inside the remote pod networks, by which the cluster routes to pods",
        ),
    )
