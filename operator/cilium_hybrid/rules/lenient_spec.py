"""A spec as it was written, valid in form or not: what can be read of it, so that every mistake is named at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any, Final

from cilium_hybrid.api.v1alpha1 import DEFAULT_CHART
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.schema_errors import shown

NETWORKS: Final = ("nodeCIDRs", "vpcCIDRs", "serviceCIDRs", "remotePodCIDRs")
MOST_READ: Final = 64
"""So many entries of a list are read: a list that may be released is shorter by far."""


@dataclass(frozen=True, slots=True)
class CIDR:
    """One entry of a list of CIDRs; `network` is None where the text is none, and has its host bits cleared."""

    path: str
    text: str
    network: IPv4Network | None

    @classmethod
    def read(cls, path: str, text: str) -> "CIDR":
        """Judge a text as Go's netip.ParsePrefix does, which the API server and Cilium use."""
        address, slash, length = text.partition("/")
        if not slash or not (length.isascii() and length.isdigit()) or (len(length) > 1 and length[0] == "0"):
            return cls(path, text, None)
        try:
            return cls(path, text, IPv4Network(f"{address}/{length}", strict=False))
        except ValueError:
            return cls(path, text, None)

    @property
    def canonical(self) -> bool:
        """Whether it is written as the first address of its network."""
        return self.network is not None and str(self.network) == self.text

    def __str__(self) -> str:
        """As it was written; what is no CIDR may be any text."""
        return shown(self.text) if self.network is None else self.text


@dataclass(frozen=True, slots=True)
class LenientStep:
    """A version on the way; `pinned`: it names the digest of its chart."""

    version: CiliumVersion | None
    pinned: bool


@dataclass(frozen=True, slots=True)
class LenientSpec:
    """What the rules look at; None and empty where the spec does not say, or says it in no usable form."""

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

    def pools(self) -> Iterator[tuple[CIDR, IPv4Network]]:
        """The pod CIDRs that are networks."""
        return _usable(self.pod_cidrs)

    def declared(self, name: str) -> list[tuple[CIDR, IPv4Network]]:
        """The CIDRs of one list of spec.networks that are networks."""
        return list(_usable(self.networks.get(name, ())))


def read_lenient_spec(raw: object) -> LenientSpec:
    """Read what can be read; any JSON value will do."""
    spec = _map(raw)
    ipam, networks, chart = _map(spec.get("ipam")), _map(spec.get("networks")), _map(spec.get("chart"))
    mask, ref = ipam.get("maskSize"), chart.get("ref")
    return LenientSpec(
        version=_version(spec.get("version")),
        chart_ref=ref if isinstance(ref, str) else DEFAULT_CHART,
        pod_cidrs=_cidrs("spec.ipam.podCIDRs", ipam.get("podCIDRs")),
        # True is an int to Python, and no number to anybody else.
        mask_size=mask if isinstance(mask, int) and not isinstance(mask, bool) else None,
        networks={name: _cidrs(f"spec.networks.{name}", networks.get(name)) for name in NETWORKS},
        values=_map(spec.get("values")),
        allow_unsupported=spec.get("allowUnsupported") is True,
        pinned=chart.get("digest") is not None,
        via=_steps(_map(spec.get("upgrade")).get("via")),
        pull_secrets=_names(spec.get("imagePullSecrets")),
    )


def _steps(raw: object) -> tuple[LenientStep, ...]:
    steps = [_map(step) for step in raw[:MOST_READ]] if isinstance(raw, list) else []
    return tuple(LenientStep(_version(step.get("version")), step.get("digest") is not None) for step in steps)


def _names(raw: object) -> tuple[str, ...]:
    names = [_map(item).get("name") for item in raw[:MOST_READ]] if isinstance(raw, list) else []
    return tuple(name for name in names if isinstance(name, str))


def _usable(cidrs: tuple[CIDR, ...]) -> Iterator[tuple[CIDR, IPv4Network]]:
    return ((cidr, cidr.network) for cidr in cidrs if cidr.network is not None)


def _cidrs(path: str, raw: object) -> tuple[CIDR, ...]:
    texts = raw[:MOST_READ] if isinstance(raw, list) else []
    return tuple(CIDR.read(f"{path}[{index}]", text) for index, text in enumerate(texts) if isinstance(text, str))


def _map(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _version(raw: object) -> CiliumVersion | None:
    try:
        return CiliumVersion.parse(raw) if isinstance(raw, str) else None
    except ValueError:
        return None
