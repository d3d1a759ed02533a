"""Package the stand-in for the Cilium chart in the versions of versions.yaml, without Helm."""

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

BROKEN_IMAGE_SUFFIX = "broken"

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


def versions() -> list[str]:
    """Return all versions, oldest first, including the broken ones."""
    return [entry["version"] for entry in _data()["versions"]]


def package(version: str, folder: Path) -> Path:
    """Write `cilium-<version>.tgz` into the directory, reproducibly byte for byte; return its path."""
    if version not in versions():
        raise ValueError(f"unknown version {version}; known are {', '.join(versions())}")
    archive = folder / f"cilium-{version}.tgz"
    archive.write_bytes(_archive(_files(version)))
    return archive


def package_all(folder: Path) -> list[Path]:
    """Write an archive for each of `versions()`; return their paths."""
    return [package(version, folder) for version in versions()]


def _files(version: str) -> dict[str, bytes]:
    """Return the files of the archive by their path below `cilium/`."""
    values, schema, config = (_read(path) for path in ("values.yaml", "values.schema.json", "files/config.yaml"))
    for step in _steps(version):
        values = _without(_merged(values, step.get("values", {})), step.get("removed", []))
        schema = _merged(schema, step.get("schema", {}))
        config = _without(_merged(config, step.get("config", {})), step.get("removedConfig", []))
    _tag_images(values, version)
    generated: dict[str, Tree] = {
        "Chart.yaml": _read("Chart.yaml") | {"version": version, "appVersion": version},
        "values.yaml": values,
        "files/config.yaml": config,
    }
    templates = sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())
    return (
        {path: yaml.safe_dump(tree, sort_keys=False).encode() for path, tree in generated.items()}
        | {"values.schema.json": json.dumps(_schema(values, schema), indent=2).encode()}
        | {path.relative_to(CHART).as_posix(): path.read_bytes() for path in templates}
    )


def _data() -> Tree:
    return _read("../versions.yaml")


@cache
def _read(path: str) -> Tree:
    """Parse a file of the chart. The result is shared between versions and must not be modified."""
    tree: Tree = yaml.safe_load((CHART / path).read_text())
    return tree


def _steps(version: str) -> list[Tree]:
    """Return the changes of every minor up to that of the version, oldest first."""
    minors: Tree = _data()["minors"]
    names = list(minors)
    return [minors[name] for name in names[: names.index(version.rpartition(".")[0]) + 1]]


def _tag_images(values: Tree, version: str) -> None:
    """Set the tag of every image to the version, with the suffix for the broken one."""
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
            image["tag"] = f"v{version}-{BROKEN_IMAGE_SUFFIX}" if name == broken else f"v{version}"


def _merged(base: Tree, over: Tree) -> Tree:
    """Return two trees merged as Helm does: maps are merged, other values replaced."""
    merged = deepcopy(base)
    for key, value in over.items():
        both_maps = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_maps else deepcopy(value)
    return merged


def _without(tree: Tree, paths: list[str]) -> Tree:
    """Return the tree without these paths. All must exist, so that versions.yaml lists no key that is already gone."""
    pruned = deepcopy(tree)
    for path in paths:
        *parents, last = path.split(".")
        node = pruned
        for parent in parents:
            node = node[parent]
        del node[last]
    return pruned


def _schema(default: Any, explicit: Tree) -> Tree:
    """Return the schema: the `explicit` one, else the type of the default. Unknown keys are allowed, as in Cilium."""
    if isinstance(default, dict):
        properties = explicit.get("properties", {})
        typed = {key: _schema(value, properties.get(key, {})) for key, value in default.items()}
        return {"type": "object"} | explicit | {"properties": typed}
    if explicit or default is None:
        return explicit
    return {"type": _TYPES[type(default)]}


def _archive(files: dict[str, bytes]) -> bytes:
    """Return a tar.gz archive that does not depend on the time or the machine."""
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
