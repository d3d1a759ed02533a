"""The chart of a revision, rebuilt from what Helm stored of it, so that no registry is needed to apply it again.

It is an archive rather than a directory: Helm would apply a `.helmignore` to the files of a directory.
"""

import base64
import gzip
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

import yaml

from cilium_hybrid.adapters.helm.upgrade import CHART_NAME
from cilium_hybrid.adapters.kube import helm_secret
from cilium_hybrid.ports import ApplyFailedError, ChartUnavailableError, FetchedChart

_ARCHIVE: Final = "restored.tgz"


def restore(secret: Mapping[str, Any], cache: Path) -> tuple[FetchedChart, Mapping[str, Any]]:
    """Write the chart of a revision to the cache, and return it with the values of the revision.

    Only one restored chart exists at a time. ApplyFailedError if the chart cannot be rebuilt, ChartUnavailableError if
    it cannot be written.
    """
    try:
        release = helm_secret.payload(secret, parse_float=_Float) or {}
        chart, values = _map(release, "chart"), json.loads(json.dumps(release.get("config") or {}))
        metadata = _map(chart, "metadata")
        version = str(metadata["version"])
        archive = _archive(chart, metadata)
    except (KeyError, TypeError, ValueError):
        raise _unreadable("Helm's Secret does not contain it") from None
    if metadata.get("dependencies"):
        raise _unreadable("Helm does not store its subcharts")
    path = cache / _ARCHIVE
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _write(path, archive)
    except OSError as error:
        raise ChartUnavailableError(f"cannot write chart {path}: {error.strerror or error}; check the volume") from None
    return FetchedChart(path, version, helm_secret.chart_digest(secret)), values


class _Float(float):
    """A number that is written as it was read: a template shows 1.10 as 1.10."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Return the number in a text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class _Dumper(yaml.CSafeDumper):
    """Writes numbers as they were read."""


_Dumper.add_representer(_Float, lambda dumper, number: dumper.represent_scalar("tag:yaml.org,2002:float", number.text))


def _map(found: Any, key: str) -> dict[str, Any]:
    value = found[key]
    if not isinstance(value, dict):
        raise TypeError(key)
    return value


def _unreadable(cause: str) -> ApplyFailedError:
    return ApplyFailedError(f"cannot rebuild the chart of the revision to return to: {cause}; change the spec instead")


def _archive(chart: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in _files(chart, metadata):
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(path)
            member = tarfile.TarInfo(f"{CHART_NAME}/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _files(chart: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    yield "Chart.yaml", _yaml(metadata)
    yield "values.yaml", _yaml(chart.get("values") or {})
    if chart.get("schema"):
        yield "values.schema.json", base64.b64decode(chart["schema"], validate=True)
    for file in (*(chart.get("templates") or ()), *(chart.get("files") or ())):
        yield str(file["name"]), base64.b64decode(file.get("data") or "", validate=True)


def _yaml(content: Mapping[str, Any]) -> bytes:
    return yaml.dump(dict(content), Dumper=_Dumper, allow_unicode=True, sort_keys=False).encode()


def _write(path: Path, content: bytes) -> None:
    """Replace a file; a reader sees the old or the new one."""
    descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=".restored-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(staged).replace(path)
    finally:
        Path(staged).unlink(missing_ok=True)
