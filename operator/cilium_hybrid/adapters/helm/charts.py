"""The Charts port. A chart is pulled once and cached by reference and version, with the digest it was served under."""

import hashlib
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError
from cilium_hybrid.adapters.helm.registry import (
    CHECK_ACCESS,
    CHECK_CONNECTION,
    RATE_LIMITED,
    list_versions,
)
from cilium_hybrid.api.v1alpha1 import OCI
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.release import NAMESPACE, RELEASE
from cilium_hybrid.ports import ChartRefusedError, ChartUnavailableError, FetchedChart, ValuesRefusedError

CHART_NAME: Final = "cilium"
_DIGEST: Final = re.compile(rb"Digest:\s*(sha256:[a-f0-9]{64})")


class HelmCharts:
    """Charts from registries and from disk. `kube_version` is the version of the cluster, used by some templates."""

    def __init__(
        self,
        command: HelmCommand,
        cache: Path,
        kube_version: str,
        list_tags: Callable[[str], Awaitable[Sequence[CiliumVersion]]] = list_versions,
    ) -> None:
        self._command, self._cache, self._kube_version, self._list_versions = command, cache, kube_version, list_tags

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Return chart `version` of `ref`; ChartUnavailableError, ChartRefusedError."""
        if ref.startswith(OCI):
            chart = _cached(self._cache_path(ref, version), version)
            if chart is None or (pinned_digest is not None and chart.digest != pinned_digest):
                chart = await self._pull(ref, version)
        else:
            chart = _on_disk(Path(ref), version)
        if pinned_digest is not None and chart.digest != pinned_digest:
            raise ChartRefusedError(
                f"chart {version} of {ref} has digest {chart.digest}, but spec.chart.digest is {pinned_digest}; "
                "find out who changed the chart before you change the digest"
            )
        return chart

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        """List the versions of `ref` in the registry, without a cache; ChartUnavailableError."""
        return await self._list_versions(ref)

    async def defaults(self, chart: FetchedChart) -> Mapping[str, Any]:
        """Return the default values of the chart; ChartRefusedError, ChartUnavailableError."""
        try:
            return _read_yaml(chart.path, "values.yaml")
        except OSError as error:
            raise ChartUnavailableError(f"cannot read chart {chart.path}: {error.strerror or error}") from None

    async def render(
        self, chart: FetchedChart, values: Mapping[str, Any], release: str = RELEASE
    ) -> Sequence[Mapping[str, Any]]:
        """Render the manifests of a release; ValuesRefusedError, HelmInterruptedError."""
        arguments = ["template", release, str(chart.path), "--namespace", NAMESPACE, "--values", "-"]
        arguments += ["--skip-crds", "--kube-version", self._kube_version]
        try:
            output = await self._command.execute(arguments, yaml.safe_dump(dict(values)).encode())
        except HelmError as error:
            values_of = "the values" if release == RELEASE else f"the values of release {release}"
            raise ValuesRefusedError(
                f"chart {chart.version} rejects {values_of}: {error}; correct spec.values"
            ) from None
        return [manifest for manifest in yaml.load_all(output.stdout, Loader=yaml.CSafeLoader) if manifest]

    def _cache_path(self, ref: str, version: str) -> Path:
        return self._cache / "charts" / hashlib.sha256(ref.encode()).hexdigest()[:16] / version

    async def _pull(self, ref: str, version: str) -> FetchedChart:
        path = self._cache_path(ref, version)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".pull-") as directory:
            try:
                output = await self._command.execute(["pull", ref, "--version", version, "--destination", directory])
            except HelmError as error:
                raise ChartUnavailableError(_pull_failure(ref, version, str(error))) from None
            digest = _DIGEST.search(output.stdout + output.stderr)
            if digest is None:
                raise ChartUnavailableError(f"Helm pulled chart {version} of {ref} but reported no digest")
            _store(Path(directory), path, version, digest.group(1))
        chart = _cached(path, version)
        if chart is None:
            raise ChartUnavailableError(
                f"chart {version} is missing from the chart cache {self._cache} after it was written; check the volume"
            )
        return chart


def _store(pulled: Path, path: Path, version: str, digest: bytes) -> None:
    """Move the pulled chart into the cache; an operator that is killed leaves the whole chart or nothing."""
    (archive,) = pulled.glob("*.tgz")
    _check_name_and_version(_read_yaml(archive, "Chart.yaml"), archive.name, version)
    staged = Path(tempfile.mkdtemp(dir=path.parent, prefix=".store-"))
    archive.rename(staged / "chart.tgz")
    (staged / "digest").write_bytes(digest)
    shutil.rmtree(path, ignore_errors=True)
    staged.rename(path)


def _pull_failure(ref: str, version: str, error: str) -> str:
    """Return what went wrong, and what to do."""
    lowered = error.lower()
    if "not found" in lowered or "manifest unknown" in lowered:
        fix = "correct spec.version or spec.chart.ref"
    elif "401" in lowered or "403" in lowered or "unauthorized" in lowered or "denied" in lowered:
        fix = CHECK_ACCESS
    elif "429" in lowered or "toomanyrequests" in lowered:
        fix = RATE_LIMITED
    else:
        fix = CHECK_CONNECTION
    return f"cannot fetch chart {version} from {ref}: {error}; {fix}"


def _cached(path: Path, version: str) -> FetchedChart | None:
    archive, digest = path / "chart.tgz", path / "digest"
    if not (archive.is_file() and digest.is_file()):
        return None
    return FetchedChart(archive, version, digest.read_text())


def _on_disk(path: Path, version: str) -> FetchedChart:
    """Return a chart on the operator's disk; its digest is computed from its files."""
    try:
        _check_name_and_version(_read_yaml(path, "Chart.yaml"), str(path), version)
        return FetchedChart(path, version, _digest(path))
    except OSError as error:
        raise ChartUnavailableError(
            f"cannot read chart {path}: {error.strerror or error}; "
            "set spec.chart.ref to a path that the operator can read"
        ) from None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _read_yaml(path: Path, name: str) -> Mapping[str, Any]:
    """Read a YAML file of a chart directory or archive; OSError, ChartRefusedError if it is not a chart of Cilium."""
    try:
        if path.is_dir():
            text = (path / name).read_bytes()
        else:
            with tarfile.open(path) as archive:
                member = archive.extractfile(f"{CHART_NAME}/{name}")
                text = b"" if member is None else member.read()
        found = yaml.load(text, Loader=yaml.CSafeLoader)
    except (tarfile.TarError, zlib.error, EOFError, KeyError, yaml.YAMLError):
        found = None
    if not isinstance(found, Mapping):
        raise ChartRefusedError(
            f"{path} is not a Helm chart of Cilium; set spec.chart.ref to a directory or archive with a valid {name}"
        )
    return found


def _check_name_and_version(metadata: Mapping[str, Any], where: str, version: str) -> None:
    name, found = metadata.get("name"), metadata.get("version")
    if name != CHART_NAME or found != version:
        raise ChartRefusedError(
            f"{where} is chart {name} {found}, but spec.version requires {CHART_NAME} {version}; "
            "correct spec.version or spec.chart.ref"
        )
