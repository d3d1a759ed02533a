"""A spec parsed as far as possible, whether or not it matches the schema, so that all mistakes are reported at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any, Final

from cilium_hybrid.api.upgrade import DEFAULT_GROUP
from cilium_hybrid.api.v1alpha1 import DEFAULT_CHART
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.text import format_value

NETWORKS: Final = ("nodeCIDRs", "vpcCIDRs", "serviceCIDRs", "remotePodCIDRs")
MAX_ENTRIES: Final = 64
"""Maximum number of entries read from a list; the schema allows far fewer."""


@dataclass(frozen=True, slots=True)
class CIDR:
    """An entry of a list of CIDRs; `network` has its host bits cleared, and is None if the text is not an IPv4 CIDR."""

    path: str
    text: str
    network: IPv4Network | None

    @classmethod
    def parse(cls, path: str, text: str) -> "CIDR":
        """Parse a text as strictly as Go's netip.ParsePrefix, which the API server and Cilium use."""
        address, slash, length = text.partition("/")
        if not slash or not (length.isascii() and length.isdigit()) or (len(length) > 1 and length[0] == "0"):
            return cls(path, text, None)
        try:
            return cls(path, text, IPv4Network(f"{address}/{length}", strict=False))
        except ValueError:
            return cls(path, text, None)

    @property
    def canonical(self) -> bool:
        """Whether the text is the canonical form of the network, without host bits."""
        return self.network is not None and str(self.network) == self.text

    def __str__(self) -> str:
        """Return the text as written, quoted and shortened if it is not a CIDR."""
        return format_value(self.text) if self.network is None else self.text


@dataclass(frozen=True, slots=True)
class LenientStep:
    """An entry of spec.upgrade.via; `pinned` if it has the digest of its chart."""

    version: CiliumVersion | None
    pinned: bool


@dataclass(frozen=True, slots=True)
class LenientSpec:
    """The fields that rules evaluate; None or empty if a field is missing or not usable."""

    version: CiliumVersion | None = None
    chart_ref: str = DEFAULT_CHART
    pod_cidrs: tuple[CIDR, ...] = ()
    mask_size: int | None = None
    networks: Mapping[str, tuple[CIDR, ...]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    allow_unsupported: bool = False
    pinned: bool = False
    via: tuple[LenientStep, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    group_by: str = DEFAULT_GROUP
    api_server_host: str = ""

    def pools(self) -> Iterator[tuple[CIDR, IPv4Network]]:
        """Return the entries of spec.ipam.podCIDRs that are IPv4 CIDRs, with their networks."""
        return _usable(self.pod_cidrs)

    def declared_networks(self, name: str) -> list[tuple[CIDR, IPv4Network]]:
        """Return the entries of a list in spec.networks that are IPv4 CIDRs, with their networks."""
        return list(_usable(self.networks.get(name, ())))


def read_lenient_spec(raw: object) -> LenientSpec:
    """Parse a spec, which may be any JSON value."""
    spec = _map(raw)
    ipam, networks, chart = _map(spec.get("ipam")), _map(spec.get("networks")), _map(spec.get("chart"))
    upgrade = _map(spec.get("upgrade"))
    host = _map(spec.get("apiServer")).get("host")
    mask, ref, group_by = ipam.get("maskSize"), chart.get("ref"), _map(upgrade.get("rollout")).get("groupBy")
    return LenientSpec(
        version=_version(spec.get("version")),
        chart_ref=ref if isinstance(ref, str) else DEFAULT_CHART,
        pod_cidrs=_cidrs("spec.ipam.podCIDRs", ipam.get("podCIDRs")),
        # In Python, True is an int.
        mask_size=mask if isinstance(mask, int) and not isinstance(mask, bool) else None,
        networks={name: _cidrs(f"spec.networks.{name}", networks.get(name)) for name in NETWORKS},
        values=_map(spec.get("values")),
        allow_unsupported=spec.get("allowUnsupported") is True,
        pinned=chart.get("digest") is not None,
        via=_steps(upgrade.get("via")),
        pull_secrets=_names(spec.get("imagePullSecrets")),
        group_by=group_by if isinstance(group_by, str) else DEFAULT_GROUP,
        api_server_host=host if isinstance(host, str) else "",
    )


def _steps(raw: object) -> tuple[LenientStep, ...]:
    steps = [_map(step) for step in raw[:MAX_ENTRIES]] if isinstance(raw, list) else []
    return tuple(LenientStep(_version(step.get("version")), step.get("digest") is not None) for step in steps)


def _names(raw: object) -> tuple[str, ...]:
    names = [_map(item).get("name") for item in raw[:MAX_ENTRIES]] if isinstance(raw, list) else []
    return tuple(name for name in names if isinstance(name, str))


def _usable(cidrs: tuple[CIDR, ...]) -> Iterator[tuple[CIDR, IPv4Network]]:
    return ((cidr, cidr.network) for cidr in cidrs if cidr.network is not None)


def _cidrs(path: str, raw: object) -> tuple[CIDR, ...]:
    texts = raw[:MAX_ENTRIES] if isinstance(raw, list) else []
    return tuple(CIDR.parse(f"{path}[{index}]", text) for index, text in enumerate(texts) if isinstance(text, str))


def _map(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _version(raw: object) -> CiliumVersion | None:
    try:
        return CiliumVersion.parse(raw) if isinstance(raw, str) else None
    except ValueError:
        return None
