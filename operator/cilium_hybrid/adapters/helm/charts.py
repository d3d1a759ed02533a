"""The Charts port. A chart is pulled once and cached by reference and version, with the digest it was served under."""

import asyncio
import errno
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cilium_hybrid.adapters.helm import bounded_yaml, upgrade
from cilium_hybrid.adapters.helm.bounded_yaml import InvalidYAMLError
from cilium_hybrid.adapters.helm.chart_cache import ChartCache
from cilium_hybrid.adapters.helm.chart_files import ChartFiles, InvalidChartError, read_chart
from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError, HelmTimeoutError
from cilium_hybrid.adapters.helm.messages import shorten
from cilium_hybrid.adapters.helm.registry import (
    CHECK_ACCESS,
    CHECK_CONNECTION,
    RATE_LIMITED,
    list_versions,
)
from cilium_hybrid.adapters.helm.upgrade import CHART_NAME
from cilium_hybrid.api.v1alpha1 import OCI
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.ports import (
    ApplyFailedError,
    ChartRefusedError,
    ChartUnavailableError,
    FetchedChart,
    HelmInterruptedError,
    PortError,
    Rendered,
    ValuesRefusedError,
)

_DIGEST: Final = re.compile(rb"Digest:\s*(sha256:[a-f0-9]{64})")
_METADATA: Final = "Chart.yaml"
_MAX_NAME: Final = 60
"""In characters, of a name or version that a chart has instead of the required one."""
_DISK: Final = re.compile(
    r"no space left|read-only file system|file too large|quota exceeded|input/output error|: permission denied"
)
_OPERATION: Final = re.compile(r"^(INSTALLATION|UPGRADE) FAILED: ")
_CHART_ERROR: Final = re.compile(
    r"execution error at|values don't meet the specifications of the schema|template: |parse error|"
    r"error converting YAML to JSON|YAML parse error|error merging manifests"
)
"""What the chart itself says about its values."""
_LOOKUP: Final = "error calling lookup"
_NOTHING: Final = "produced empty output"
"""What Helm says of its post-renderer."""
_KUBE_VERSION: Final = "chart requires kubeVersion"


class HelmCharts:
    """Charts from registries and from disk."""

    def __init__(
        self,
        command: HelmCommand,
        cache: Path,
        list_tags: Callable[[str], Awaitable[Sequence[CiliumVersion]]] = list_versions,
    ) -> None:
        self._command, self._cache, self._list_versions = command, ChartCache(cache), list_tags
        self._without_crds: Collection[tuple[Path, str]] = ()

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Return chart `version` of `ref`; ChartUnavailableError, ChartRefusedError."""
        if ref.startswith(OCI):
            chart = await self._from_registry(ref, version, pinned_digest)
        else:
            chart = await asyncio.to_thread(_on_disk, Path(ref), version)
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
            return await asyncio.to_thread(_read_yaml, chart.path, "values.yaml")
        except InvalidChartError as error:
            if chart.path.is_relative_to(self._cache.directory):
                # It was whole when it was fetched; the next fetch replaces it.
                raise ChartUnavailableError(f"the cached chart {chart.path} was damaged: it {error}") from None
            raise _refused(str(chart.path), error) from None
        except OSError as error:
            raise ChartUnavailableError(f"cannot read chart {chart.path}: {_describe(error)}") from None

    async def render(self, chart: FetchedChart, values: Mapping[str, Any], release: str = RELEASE) -> Rendered:
        """Render what Helm would apply next for a release, with the capabilities and lookups of the cluster.

        Helm reads each object from the cluster after it has rendered. An error from that step is in `problem`.
        ValuesRefusedError, ChartRefusedError, ApplyFailedError, StaleError, HelmInterruptedError,
        ClusterUnavailableError.
        """
        await self._refuse_crds(chart)
        try:
            stream, error = await upgrade.render(self._command, release, chart, values)
            problem = None if error is None else _render_failure(chart, release, error)
            return Rendered(await asyncio.to_thread(upgrade.parse, stream), stream, problem)
        except HelmError as failed:
            raise _render_failure(chart, release, failed) from None
        except InvalidYAMLError as error:
            raise ChartRefusedError(
                f"what chart {chart.version} renders {error}; set another spec.version or correct spec.values"
            ) from None

    async def _refuse_crds(self, chart: FetchedChart) -> None:
        """Raise ChartRefusedError for a chart or subchart with a `crds` folder: no rule and no release covers it."""
        if (chart.path, chart.digest) in self._without_crds:
            return
        try:
            output = await self._command.execute(["show", "crds", str(chart.path)])
        except HelmError as error:
            raise ChartUnavailableError(f"cannot read chart {chart.path}: {error}") from None
        if output.stdout.strip():
            raise ChartRefusedError(
                f"chart {chart.version} has a folder crds, which Helm would apply outside of the release; "
                "set spec.chart.ref to a chart without it"
            )
        self._without_crds = {(chart.path, chart.digest)}

    async def _from_registry(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Return a chart from the cache, or pull it if it is missing, damaged or not the pinned one."""
        try:
            chart = await asyncio.to_thread(self._cache.find, ref, version)
            if chart is None or (pinned_digest is not None and chart.digest != pinned_digest):
                await self._pull(ref, version)
                chart = await asyncio.to_thread(self._cache.find, ref, version)
        except OSError as error:
            raise ChartUnavailableError(
                f"cannot use chart cache {self._cache.directory}: {_describe(error)}; check the volume"
            ) from None
        if chart is None:
            raise ChartUnavailableError(
                f"chart {version} is missing or damaged in chart cache {self._cache.directory} "
                "after it was written; check the volume"
            )
        return chart

    async def _pull(self, ref: str, version: str) -> None:
        """Pull a chart into the cache; OSError, ChartUnavailableError, ChartRefusedError."""
        with self._cache.staging(ref) as directory:
            try:
                output = await self._command.execute(
                    ["pull", ref, "--version", version, "--destination", str(directory)]
                )
            except (HelmError, HelmInterruptedError) as error:
                raise ChartUnavailableError(_pull_failure(ref, version, error, directory)) from None
            digest = _DIGEST.search(output.stdout + output.stderr)
            archives = list(directory.glob("*.tgz"))
            if digest is None or len(archives) != 1:
                raise ChartUnavailableError(f"Helm pulled chart {version} of {ref} but reported no digest")
            await asyncio.to_thread(_check, archives[0], f"chart {version} of {ref}", version)
            await asyncio.to_thread(self._cache.store, ref, version, archives[0], digest[1].decode())


def _render_failure(chart: FetchedChart, release: str, error: HelmError) -> PortError:
    """Return whose fault it is that a chart does not render: that of the chart, of its values, or of the cluster."""
    message = _OPERATION.sub("", str(error))
    if _KUBE_VERSION in message:
        return ChartRefusedError(f"chart {chart.version} cannot run in this cluster: {message}; correct spec.version")
    if _NOTHING in message:
        return ChartRefusedError(f"chart {chart.version} renders no objects; correct spec.chart.ref")
    if _CHART_ERROR.search(error.details) and _LOOKUP not in error.details:
        values_of = "the values" if release == RELEASE else f"the values of release {release}"
        return ValuesRefusedError(f"chart {chart.version} rejects {values_of}: {message}; correct spec.values")
    return upgrade.classify_error(error, ApplyFailedError(f"Helm could not render chart {chart.version}: {message}"))


def _pull_failure(ref: str, version: str, error: HelmError | HelmInterruptedError, directory: Path) -> str:
    """Return what went wrong, and what to do."""
    details = error.details if isinstance(error, HelmError) else str(error)
    lowered = details.lower()
    # The directory has another name each time, and the status would change with it. A long path is redacted up to it.
    message = shorten(re.sub(rf"\S*{re.escape(directory.name)}", "the chart cache", details))
    if isinstance(error, HelmTimeoutError):
        message, fix = f"no complete answer within {error.seconds:g} s", CHECK_CONNECTION
    elif _DISK.search(lowered):
        fix = "check the volume of the chart cache"
    elif isinstance(error, HelmInterruptedError):
        fix = "the operator retries with increasing delays"
    elif "not found" in lowered or "manifest unknown" in lowered:
        fix = "correct spec.version or spec.chart.ref"
    elif "401" in lowered or "403" in lowered or "unauthorized" in lowered or "denied" in lowered:
        fix = CHECK_ACCESS
    elif "429" in lowered or "toomanyrequests" in lowered:
        fix = RATE_LIMITED
    else:
        fix = CHECK_CONNECTION
    return f"cannot fetch chart {version} from {ref}: {message}; {fix}"


def _on_disk(path: Path, version: str) -> FetchedChart:
    """Return a chart on the operator's disk; its digest is computed from its files."""
    try:
        return FetchedChart(path, version, _check(path, str(path), version))
    except (OSError, ValueError) as error:
        raise ChartUnavailableError(
            f"cannot read chart {path}: {_describe(error)}; set spec.chart.ref to a path that the operator can read"
        ) from None


def _check(path: Path, where: str, version: str) -> str:
    """Return the digest of the files of a chart, if it is the right one; OSError, ChartRefusedError."""
    try:
        files = read_chart(path, CHART_NAME, frozenset({_METADATA}))
        metadata = _parse(path, files, _METADATA)
    except InvalidChartError as error:
        raise _refused(where, error) from None
    name, found = (shorten(str(metadata.get(key)), _MAX_NAME) for key in ("name", "version"))
    if name != CHART_NAME or found != version:
        raise ChartRefusedError(
            f"{where} is chart {name} {found}, but spec.version requires {CHART_NAME} {version}; "
            "correct spec.version or spec.chart.ref"
        )
    return files.digest


def _read_yaml(path: Path, name: str) -> Mapping[str, Any]:
    return _parse(path, read_chart(path, CHART_NAME, frozenset({name})), name)


def _parse(path: Path, files: ChartFiles, name: str) -> Mapping[str, Any]:
    """Parse a YAML file of a chart; FileNotFoundError, InvalidChartError."""
    text = files.content.get(name)
    if text is None and path.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"No such file: {name}")
    try:
        found = bounded_yaml.load(text or b"")
    except InvalidYAMLError as error:
        raise InvalidChartError(f"contains {name}, which {error}") from None
    if not isinstance(found, Mapping):
        raise InvalidChartError(f"contains no valid {CHART_NAME}/{name}")
    return found


def _refused(where: str, error: InvalidChartError) -> ChartRefusedError:
    return ChartRefusedError(
        f"{where} is not a Helm chart of Cilium: it {error}; set spec.chart.ref to a directory or archive with a chart"
    )


def _describe(error: OSError | ValueError) -> str:
    return shorten(error.strerror if isinstance(error, OSError) and error.strerror else str(error))
