"""Write the value keys of Cilium charts into rules/minors: `make chart-keys CHARTS=<directory with cilium-X.Y.Z.tgz>`.

Only the keys that a chart adds or removes since the previous minor are written, so a new minor needs only its own
archive: the keys of the others are read from their files. The output is reproducible byte for byte.
"""

import re
import sys
import tarfile
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

import yaml

from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules import supported_minors
from cilium_hybrid.rules.supported_minors import KeyChanges, Series, read_minor_files

FREE_FORM: Final = frozenset(
    {"affinity", "annotations", "nodeSelector", "podSecurityContext", "resources", "updateStrategy"}
)
"""Keys whose value is part of a Kubernetes object, whatever the chart's defaults contain."""

_REFERENCE: Final = re.compile(r"\.Values((?:\.\w+)+)", re.ASCII)
_LOOKUP: Final = re.compile(r"\b(?:hasKey|get)\s+\$?\.Values((?:\.\w+)+)\s+\"(\w+)\"", re.ASCII)
_AS_MAP: Final = "AsMap"
"""A method of Helm's values, not a key."""
_KEYS: Final = re.compile(r"^keys:.*\Z", re.MULTILINE | re.DOTALL)


def chart_keys(archive: Path) -> frozenset[str]:
    """Return the dotted paths of the keys that a chart lists in its values.yaml or reads in its templates.

    Below an empty map and below the keys in FREE_FORM, any key is allowed, so none is returned.
    """
    with tarfile.open(archive) as chart:
        texts = {name.partition("/")[2]: text for name, text in _texts(chart)}
    values = yaml.load(texts["values.yaml"], Loader=yaml.CSafeLoader)
    listed = dict(_listed(values))
    templates = "".join(text for name, text in texts.items() if name.startswith(("templates/", "files/")))
    read = {match[1] for match in _REFERENCE.finditer(templates)}
    read |= {f"{match[1]}.{match[2]}" for match in _LOOKUP.finditer(templates)}
    return frozenset(listed) | {path for reference in read for path in _paths_of(reference[1:], listed)}


def _texts(chart: tarfile.TarFile) -> Iterator[tuple[str, str]]:
    for member in chart:
        file = chart.extractfile(member)
        if file is not None:
            yield member.name, file.read().decode(errors="replace")


def _listed(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        yield f"{above}{name}", value
        if isinstance(value, Mapping) and name not in FREE_FORM:
            yield from _listed(value, f"{above}{name}.")


def _paths_of(reference: str, listed: Mapping[str, object]) -> Iterator[str]:
    """Yield the path that a template reads and its parents, down to the first below which any key is allowed."""
    names = reference.split(".")
    if names[0] == _AS_MAP:
        return
    for count, name in enumerate(names, 1):
        path = ".".join(names[:count])
        yield path
        if name in FREE_FORM or listed.get(path) == {}:
            return


def find_charts(folder: Path) -> Mapping[Series, Path]:
    """Return the archive of the newest version of each minor; pre-releases are left out."""
    found: dict[CiliumVersion, Path] = {}
    for archive in folder.glob("cilium-*.tgz"):
        try:
            found[CiliumVersion.parse(archive.stem.removeprefix("cilium-"))] = archive
        except ValueError:
            continue
    return {(version.major, version.minor): found[version] for version in sorted(found)}


def with_keys(text: str, before: AbstractSet[str], now: AbstractSet[str]) -> str:
    """Return the text of a minor's file with its keys replaced; `keys` is the last field in it."""
    changes = {"added": now - before, "removed": before - now}
    blocks = [
        f"  {name}: |\n" + "".join(f"    {path}\n" for path in sorted(paths))
        for name, paths in changes.items()
        if paths
    ]
    kept = _KEYS.sub("", text)
    return kept + ("keys:  # `make chart-keys` writes them\n" + "".join(blocks) if blocks else "")


def write_keys(charts: Mapping[Series, Path], folder: Path) -> None:
    """Write the keys of the charts into the minor files in a directory."""
    before: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    for series, file in read_minor_files(folder).items():
        known = _after(known, file.keys)
        now = chart_keys(charts[series]) if series in charts else known
        path = folder / f"{series[0]}.{series[1]}.yaml"
        path.write_text(with_keys(path.read_text(encoding="utf-8"), before, now), encoding="utf-8")
        before = now


def _after(known: frozenset[str], keys: KeyChanges) -> frozenset[str]:
    return known.difference(keys.removed.splitlines()).union(keys.added.splitlines())


def main(arguments: list[str]) -> int:
    """Write the keys of the charts in the given directory; return 2 if none belongs to a known minor, else 0."""
    folder = Path(supported_minors.__file__).parent / "minors"
    charts = find_charts(Path(arguments[0])) if arguments and arguments[0] else {}
    known = read_minor_files(folder)
    for series, archive in charts.items():
        name = f"{series[0]}.{series[1]}.yaml"
        found = f"{name}: keys of {archive.name}" if series in known else f"{archive.name}: skipped, no {folder}/{name}"
        sys.stdout.write(f"{found}\n")
    if not known.keys() & charts.keys():
        sys.stderr.write("usage: make chart-keys CHARTS=<directory with cilium-X.Y.Z.tgz of a known minor>\n")
        return 2
    write_keys(charts, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
