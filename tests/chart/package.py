"""The stand-in for Cilium's chart, packaged in the versions of versions.yaml. Needs no Helm."""

import gzip
import io
import json
import tarfile
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]

HERE = Path(__file__).parent
CHART = HERE / "cilium"

MARK_OF_BROKEN_IMAGES = "broken"

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


def versions() -> list[str]:
    """Every version there is, oldest first; the broken ones among them."""
    return [entry["version"] for entry in _data()["versions"]]


def package(version: str, folder: Path) -> Path:
    """Write ``cilium-<version>.tgz`` into the folder; the same bytes every time."""
    if version not in versions():
        raise ValueError(f"there is no version {version}, only {', '.join(versions())}")
    archive = folder / f"cilium-{version}.tgz"
    archive.write_bytes(_archive(_files(version)))
    return archive


def package_all(folder: Path) -> list[Path]:
    """Write one archive for each of ``versions()``."""
    return [package(version, folder) for version in versions()]


def _files(version: str) -> dict[str, bytes]:
    """Everything in the archive, by its path below ``cilium/``."""
    values, stated, config = (_read(path) for path in ("values.yaml", "values.schema.json", "files/config.yaml"))
    for step in _steps(version):
        values = _without(_merged(values, step.get("values", {})), step.get("removed", []))
        stated = _merged(stated, step.get("schema", {}))
        config = _without(_merged(config, step.get("config", {})), step.get("removedConfig", []))
    _tag_images(values, version)
    made: dict[str, Tree] = {
        "Chart.yaml": _read("Chart.yaml") | {"version": version, "appVersion": version},
        "values.yaml": values,
        "files/config.yaml": config,
    }
    templates = sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())
    return (
        {path: yaml.safe_dump(tree, sort_keys=False).encode() for path, tree in made.items()}
        | {"values.schema.json": json.dumps(_schema(values, stated), indent=2).encode()}
        | {path.relative_to(CHART).as_posix(): path.read_bytes() for path in templates}
    )


def _data() -> Tree:
    return _read("../versions.yaml")


@cache
def _read(path: str) -> Tree:
    """Parse one file of the chart's folder. Shared between versions: nobody changes it in place."""
    tree: Tree = yaml.safe_load((CHART / path).read_text())
    return tree


def _steps(version: str) -> list[Tree]:
    """The changes of every minor up to the version's own, oldest first."""
    minors: Tree = _data()["minors"]
    names = list(minors)
    return [minors[name] for name in names[: names.index(version.rpartition(".")[0]) + 1]]


def _tag_images(values: Tree, version: str) -> None:
    """Give every image the version's tag, and one of them the mark if the version is broken."""
    broken = next(entry.get("broken") for entry in _data()["versions"] if entry["version"] == version)
    images: Tree = {
        "agent": values["image"],
        "operator": values["operator"]["image"],
        "preflight": values["preflight"]["image"],
        "envoy": values["envoy"]["image"],
        "relay": values["hubble"]["relay"]["image"],
        "preflight envoy": values["preflight"].get("envoy", {}).get("image", {}),
    }
    for name, image in images.items():
        if image:
            image["tag"] = f"v{version}-{MARK_OF_BROKEN_IMAGES}" if name == broken else f"v{version}"


def _merged(base: Tree, over: Tree) -> Tree:
    """Lay one tree over another as Helm does: maps merge, everything else replaces."""
    merged = deepcopy(base)
    for key, value in over.items():
        both_maps = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_maps else deepcopy(value)
    return merged


def _without(tree: Tree, paths: list[str]) -> Tree:
    """Take out paths that must be there, so that a removal cannot outlive its key."""
    pruned = deepcopy(tree)
    for path in paths:
        *parents, last = path.split(".")
        at = pruned
        for parent in parents:
            at = at[parent]
        del at[last]
    return pruned


def _schema(default: Any, stated: Tree) -> Tree:
    """Type a value by its default where nothing else is stated; unknown keys stay allowed, as in Cilium's schema."""
    if isinstance(default, dict):
        properties = stated.get("properties", {})
        typed = {key: _schema(value, properties.get(key, {})) for key, value in default.items()}
        return {"type": "object"} | stated | {"properties": typed}
    if stated or default is None:
        return stated
    return {"type": _TYPES[type(default)]}


def _archive(files: dict[str, bytes]) -> bytes:
    """Pack files with nothing in it of the day or the machine."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"{CHART.name}/{path}")
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
