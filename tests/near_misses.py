"""Hypothesis strategies for specs that are almost valid: typical mistakes, and the limits of every rule."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import strategies as st

from builders import DIGEST, REF
from cilium_hybrid.api.cel import PRIVATE
from cilium_hybrid.api.v1alpha1 import SPEC_SCHEMA
from cilium_hybrid.rules.lenient_spec import NETWORKS

Spec = dict[str, Any]
Path = tuple[str, ...]

# Both ends of each network that AWS allows for pods, and the adjacent addresses.
EDGES = [
    str(IPv4Address(int(end) + step))
    for network in map(IPv4Network, PRIVATE)
    for end, step in ((network[0], -1), (network[0], 0), (network[-1], 0), (network[-1], 1))
]
ADDRESSES = st.sampled_from([*EDGES, "10.85.77.0", "8.8.8.0", "224.0.0.0", "255.255.255.255"])
PREFIXES = st.sampled_from([0, 1, 7, 8, 9, 10, 11, 12, 13, *range(14, 33)])
ACCENTED = "\N{LATIN SMALL LETTER E WITH ACUTE}"
INVALID_IPV4 = (
    *("10.85.0.0", "10.85.0.0/", "/16", "10.85.0.0/33", "10.85.0.0/016", "10.85.0.0/+16", "10.85.0.0/-1"),
    *("10.0.0.0/8/8", "010.85.0.0/16", "10.85.00.0/16", "10.85.0/16", "10.85.0.0.0/16", "10.256.0.0/16"),
    *("10.85.0.0/16,", "0xa.0.0.0/8", " 10.85.0.0/16", "10.85.0.0/16 ", "10.85.0.0 /16", "10.85.0.0/16\n"),
    *("10.85.0.0/\t16", "10.85.0.0/1e1", "10.85.0.0/255.255.0", "10.0.0.0/255.0.0.0", "10.85.0.0-10.86.0.0"),
    *(
        "\N{FULLWIDTH DIGIT ONE}0.85.0.0/16",
        "10.85.0.0/1\N{ARABIC-INDIC DIGIT SIX}",
        "10.85.0.0\N{FULLWIDTH SOLIDUS}16",
    ),
    *("10.85.0.0/\N{SUPERSCRIPT TWO}", "", "x", "null", "10"),
)
# As long as the longest IPv4 CIDR, and one character longer.
LONG = (
    *("192.168.255.128/25", "192.168.255.128/025", "255.255.255.255/32", "255.255.255.255/032"),
    *("x" * 18, "x" * 19, ACCENTED * 18),
)
# With and without host bits, in uppercase, and IPv4-mapped.
IPV6 = (
    *("fd00::/64", "fd00::1/64", "FD00::/64", "fd00:0::/64", "::/0", "::1/128", "fd00::/8", "fe80::%1/64", "a00::/8"),
    *("::ffff:a00:0/104", "::ffff:10.0.0.0/96", "::10.85.0.0/112", "64:ff9b::/96", "fd00::/129", "fd00::"),
)
INVALID = st.sampled_from([*INVALID_IPV4, *LONG, *IPV6])
MASKS = st.integers(14, 31)
ANY_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 25, 25.5, -1, 2**40, 2**64, "", "x", "true", "25", "10.85.0.0/16"),
    *([], [1], [None], [""], [[]], [{}], ["10.85.0.0/16"], {}, {"x": 1}, {"x": None}, {"enabled": {"x": []}}),
)
FIELD_VALUES: Mapping[Path, tuple[Any, ...]] = {
    ("version",): (
        *("1.18.8-1", "0.0.0", "9999.9999.9999-9999", "1.17", "v1.17.9", "1.17.9-", "1.17.09", "1.17.9-00"),
        *("1.17.10000", "1.17.9\n", " 1.17.9", "1.17.9-rc.1", "1.17.9+1", "1.17.9" + "0" * 19),
        "1.1\N{ARABIC-INDIC DIGIT SEVEN}.9",
    ),
    ("chart", "ref"): (
        *("oci://a/b", "oci://a:5000/b", "oci://a:500000/b", "oci://a/b:1.17.9", "oci://a/B", "oci://a", "https://a/b"),
        *("/charts/cilium", "/", "charts/cilium", "/a b", "/a\n", "/\x1f", "oci://a/b\n", "/" + "x" * 511),
        *("/" + "x" * 512, "/" + ACCENTED * 511),
    ),
    ("chart", "digest"): (DIGEST, DIGEST.upper(), DIGEST[:-1], f"{DIGEST}0", f"{DIGEST}\n", "sha512:" + "ab" * 32),
    ("apiServer", "host"): (
        *("a", "a.example", "10.0.0.1", "A.example", "a-b.c-d", "a..b", ".a", "a.", "-a", "a-", "a_b", "a:443", "a/b"),
        *("https://a.example", "a.example\n", " a", "fd00::1", "*.a", "x" * 253, "x" * 254, ACCENTED),
    ),
    ("apiServer", "port"): (0, 1, 443, 65535, 65536, -1, 443.0, 443.5, "443", None, True),
    ("registryMirror",): (
        *(
            "a.example",
            "a.example/b-c/d_e/f",
            "a:5000",
            "a:5000/b",
            "a:500000",
            "a",
            "a/b",
            "a.example/",
            "a.example//b",
        ),
        *(
            "https://a.example",
            "a.example/B",
            "a.example/b:1",
            "-a.example",
            "a..example",
            "a.example\n",
            "a.example/b/-",
        ),
        *("a.example/" + "x" * 190, "a.example/" + "x" * 191, "a.example/b__c", "a.example/b---c", "a.example/b..c"),
    ),
    ("upgrade", "rollout", "maxUnavailable"): (
        *(0, 1, 1000, 1001, -1, 1.5, 2.0, True, None, [], {}),
        *("0%", "1%", "25%", "100%", "101%", "01%", "1.5%", "-1%", "25", "%", "x", "", "25%\n", "25 %"),
    ),
    ("deletionPolicy",): ("Retain", "Uninstall", "Purge", "retain", "Retain "),
}


def _fields(schema: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    for name, child in schema.get("properties", {}).items():
        yield (*path, name)
        yield from _fields(child, (*path, name))


FIELDS = tuple(_fields(SPEC_SCHEMA))
MAPS = ((), *sorted({path[:-1] for path in FIELDS} - {()}))
POD_CIDRS = ("ipam", "podCIDRs")
DECLARED = tuple(("networks", name) for name in NETWORKS)
LISTS = (POD_CIDRS, POD_CIDRS, POD_CIDRS, *DECLARED)
UNKNOWN = ("x", "Version", "pod_cidrs", "mask_size", "podCidrs", "allow_unsupported")
# A network, and its subnets.
CONTAINING = "10.80.0.0/12"
DISJOINT = [f"10.{number}.0.0/16" for number in range(80, 96)]
VALID = [
    {"version": "1.17.9-0", "chart": {"ref": REF}, "ipam": {"podCIDRs": pools, "maskSize": mask}}
    | ({"networks": networks} if networks else {})
    for pools in (DISJOINT[5:6], DISJOINT[:2], DISJOINT[14:11:-1])
    for mask in (16, 25, 29)
    for networks in (
        {},
        {"nodeCIDRs": ["10.0.0.0/12"], "vpcCIDRs": ["10.96.0.0/11"], "serviceCIDRs": ["172.20.0.0/16"]},
        {"nodeCIDRs": ["8.8.8.0/24", "192.168.0.0/16"], "vpcCIDRs": ["10.79.255.0/24"], "remotePodCIDRs": [CONTAINING]},
        {"vpcCIDRs": ["10.96.0.0/24", "10.96.1.0/24"], "remotePodCIDRs": ["10.80.0.0/13", "10.88.0.0/13"]},
    )
]


def valid_specs() -> st.SearchStrategy[Spec]:
    """Return valid specs, with and without declared networks."""
    return st.sampled_from(VALID).map(deepcopy)


@st.composite
def edited(draw: st.DrawFn, spec: Spec) -> Spec:
    """Return the spec with one change, intended or a mistake."""
    after = deepcopy(spec)
    draw(st.sampled_from(EDITS))(draw, after)
    return after


@st.composite
def near_misses(draw: st.DrawFn) -> Any:
    """Return specs with up to four changes, and values that are not a spec."""
    spec = draw(valid_specs())
    for _ in range(draw(st.integers(0, 4))):
        spec = draw(edited(spec))
    return draw(st.sampled_from([spec] * 100 + [None, [], {}, "x"]))


def _place(spec: Spec, path: Path) -> Spec | None:
    """Return the map at a path, created if there is none; None if the value is not a map."""
    place: Any = spec
    for name in path:
        place = place.setdefault(name, {}) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else None


def _texts(spec: Spec, paths: Sequence[Path] = (POD_CIDRS, *DECLARED)) -> list[str]:
    """Return the entries of these lists of CIDRs."""
    lists = [(_place(spec, path[:-1]) or {}).get(path[-1]) for path in paths]
    return [text for cidrs in lists if isinstance(cidrs, list) for text in cidrs if isinstance(text, str)]


def _entry(draw: st.DrawFn, spec: Spec) -> str:
    """Return a CIDR: similar to an existing one, at a limit, or invalid."""
    kind = draw(st.sampled_from(["similar", "similar", "similar", "disjoint", "edge", "edge", "invalid"]))
    existing = _texts(spec)
    if kind == "similar" and existing:
        return _similar(draw, draw(st.sampled_from(existing)))
    if kind == "invalid":
        return draw(INVALID)
    if kind == "disjoint":
        return draw(st.sampled_from(DISJOINT))
    return str(IPv4Network((draw(ADDRESSES), draw(PREFIXES)), strict=False))


def _similar(draw: st.DrawFn, text: str) -> str:
    """Return the same network, one that contains it, one inside it, the adjacent one, or one with host bits."""
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        return text
    length, first = network.prefixlen, int(network.network_address)
    size = network.num_addresses
    containing = (first, max(0, length - draw(st.integers(1, 4))))
    inside = (first + size - 1, min(32, length + draw(st.integers(1, 12))))
    adjacent = ((first ^ size) % 2**32, length)
    near = [str(IPv4Network(each, strict=False)) for each in (containing, inside, adjacent)]
    return draw(st.sampled_from([text, *near, f"{network[-1]}/{length}", f"{network[size // 2]}/{length}"]))


def _list(draw: st.DrawFn, spec: Spec) -> list[Any]:
    """Return one of the lists of CIDRs, created if there is none."""
    *parents, name = draw(st.sampled_from(LISTS))
    place = _place(spec, tuple(parents))
    if place is None:
        return []
    if not isinstance(place.get(name), list):
        place[name] = []
    cidrs: list[Any] = place[name]
    return cidrs


def _append(draw: st.DrawFn, spec: Spec) -> None:
    _list(draw, spec).append(_entry(draw, spec))


def _overlap(draw: st.DrawFn, spec: Spec) -> None:
    """Append a pod CIDR similar to a declared network."""
    networks = _texts(spec, DECLARED)
    pools = (_place(spec, ("ipam",)) or {}).get("podCIDRs")
    if networks and isinstance(pools, list):
        pools.append(_similar(draw, draw(st.sampled_from(networks))))


def _insert(draw: st.DrawFn, spec: Spec) -> None:
    _list(draw, spec).insert(0, _entry(draw, spec))


def _replace(draw: st.DrawFn, spec: Spec) -> None:
    cidrs = _list(draw, spec)
    if cidrs:
        cidrs[draw(st.integers(0, len(cidrs) - 1))] = _entry(draw, spec)


def _resize(draw: st.DrawFn, spec: Spec) -> None:
    """Enlarge, shrink or shift one entry."""
    cidrs = _list(draw, spec)
    if cidrs:
        index = draw(st.integers(0, len(cidrs) - 1))
        cidrs[index] = _similar(draw, str(cidrs[index]))


def _remove(draw: st.DrawFn, spec: Spec) -> None:
    cidrs = _list(draw, spec)
    if cidrs:
        del cidrs[draw(st.integers(0, len(cidrs) - 1))]


def _reorder(draw: st.DrawFn, spec: Spec) -> None:
    cidrs = _list(draw, spec)
    cidrs[:] = draw(st.permutations(cidrs))


def _fill(draw: st.DrawFn, spec: Spec) -> None:
    """Append until there are 14 to 16 entries, of which 15 are allowed."""
    cidrs = _list(draw, spec)
    more = [cidr for cidr in DISJOINT if cidr not in cidrs]
    cidrs.extend(more[: max(0, draw(st.integers(14, 16)) - len(cidrs))])


def _empty(draw: st.DrawFn, spec: Spec) -> None:
    _list(draw, spec).clear()


def _mask(draw: st.DrawFn, spec: Spec) -> None:
    """Set a mask around the allowed ones, often close to the prefix length of an existing CIDR."""
    lengths = re.findall(r"/([0-9]+)$", "\n".join(_texts(spec)), re.MULTILINE)
    near = [int(length) + more for length in lengths for more in (-1, 0, 1)]
    place = _place(spec, ("ipam",))
    if place is not None:
        place["maskSize"] = draw(st.sampled_from(near) | MASKS if near else MASKS)


def _put(spec: Spec, path: Path, value: Any) -> None:
    place = _place(spec, path[:-1])
    if place is not None:
        place[path[-1]] = deepcopy(value)


def _any_value(draw: st.DrawFn, spec: Spec) -> None:
    """Set any field to any value."""
    _put(spec, draw(st.sampled_from(FIELDS)), draw(st.sampled_from(ANY_VALUES)))


def _field_value(draw: st.DrawFn, spec: Spec) -> None:
    path = draw(st.sampled_from(sorted(FIELD_VALUES)))
    _put(spec, path, draw(st.sampled_from(FIELD_VALUES[path])))


def _pull_secrets(draw: st.DrawFn, spec: Spec) -> None:
    """Set some names, sometimes with a duplicate."""
    names = draw(st.lists(st.sampled_from(["a", "b", "b.c", "B", "a-", "x" * 253, "x" * 254, ""]), max_size=4))
    twice = names[:1] if draw(st.booleans()) else []
    _put(spec, ("imagePullSecrets",), [{"name": name} for name in [*names, *twice]])


def _unknown(draw: st.DrawFn, spec: Spec) -> None:
    _put(spec, (*draw(st.sampled_from(MAPS)), draw(st.sampled_from(UNKNOWN))), draw(st.sampled_from(ANY_VALUES)))


def _drop(draw: st.DrawFn, spec: Spec) -> None:
    *parents, name = draw(st.sampled_from(FIELDS))
    place = _place(spec, tuple(parents))
    if place is not None:
        place.pop(name, None)


EDITS: tuple[Callable[[st.DrawFn, Spec], None], ...] = (
    *(_append, _append, _append, _overlap, _overlap, _insert, _replace, _resize, _resize, _remove, _reorder),
    *(_fill, _empty, _mask, _mask, _any_value, _field_value, _pull_secrets, _unknown, _drop),
)
