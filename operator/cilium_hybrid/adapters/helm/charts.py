"""The Charts port: pulled once, kept by reference and version with the digest they were served under."""

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
from cilium_hybrid.adapters.helm.registry import AWAY, LIMIT, LOGIN, list_versions
from cilium_hybrid.api.v1alpha1 import OCI
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.release import NAMESPACE, RELEASE
from cilium_hybrid.ports import ChartRefusedError, ChartUnavailableError, FetchedChart, ValuesRefusedError

CHART_NAME: Final = "cilium"
_DIGEST: Final = re.compile(rb"Digest:\s*(sha256:[a-f0-9]{64})")


class HelmCharts:
    """Charts from registries and from disk. `kube_version` is the cluster's, for charts that ask for it."""

    def __init__(
        self,
        command: HelmCommand,
        cache: Path,
        kube_version: str,
        listed: Callable[[str], Awaitable[Sequence[CiliumVersion]]] = list_versions,
    ) -> None:
        self._command, self._cache, self._kube_version, self._listed = command, cache, kube_version, listed

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Chart `version` of `ref`; ChartUnavailableError, ChartRefusedError."""
        if ref.startswith(OCI):
            chart = _cached(self._place(ref, version), version)
            if chart is None or (pinned_digest is not None and chart.digest != pinned_digest):
                chart = await self._pull(ref, version)
        else:
            chart = _on_disk(Path(ref), version)
        if pinned_digest is not None and chart.digest != pinned_digest:
            raise ChartRefusedError(
                f"chart {version} of {ref} has digest {chart.digest}, and spec.chart.digest says {pinned_digest}: "
                "find out who changed the chart before you change the digest"
            )
        return chart

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        """The versions that the registry has of `ref`, asked anew each time; ChartUnavailableError."""
        return await self._listed(ref)

    async def defaults(self, chart: FetchedChart) -> Mapping[str, Any]:
        """The values that the chart has of itself; ChartRefusedError, ChartUnavailableError."""
        try:
            return _read(chart.path, "values.yaml")
        except OSError as error:
            raise ChartUnavailableError(f"cannot read chart {chart.path}: {error.strerror or error}") from None

    async def render(
        self, chart: FetchedChart, values: Mapping[str, Any], release: str = RELEASE
    ) -> Sequence[Mapping[str, Any]]:
        """What the chart makes of the values for a release, object by object; ValuesRefusedError."""
        arguments = ["template", release, str(chart.path), "--namespace", NAMESPACE, "--values", "-"]
        arguments += ["--skip-crds", "--kube-version", self._kube_version]
        try:
            said = await self._command.say(arguments, yaml.safe_dump(dict(values)).encode())
        except HelmError as error:
            whose = "the values" if release == RELEASE else f"the values of release {release}"
            raise ValuesRefusedError(f"chart {chart.version} refuses {whose}, correct spec.values: {error}") from None
        return [manifest for manifest in yaml.load_all(said.out, Loader=yaml.CSafeLoader) if manifest]

    def _place(self, ref: str, version: str) -> Path:
        return self._cache / "charts" / hashlib.sha256(ref.encode()).hexdigest()[:16] / version

    async def _pull(self, ref: str, version: str) -> FetchedChart:
        place = self._place(ref, version)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".pull-") as folder:
            try:
                said = await self._command.say(["pull", ref, "--version", version, "--destination", folder])
            except HelmError as error:
                raise ChartUnavailableError(_unavailable(ref, version, str(error))) from None
            served = _DIGEST.search(said.out + said.err)
            if served is None:
                raise ChartUnavailableError(f"Helm pulled chart {version} of {ref} and named no digest")
            _keep(Path(folder), place, version, served.group(1))
        chart = _cached(place, version)
        if chart is None:
            raise ChartUnavailableError(f"the chart cache {self._cache} does not keep what is written to it")
        return chart


def _keep(folder: Path, place: Path, version: str, digest: bytes) -> None:
    """Move what was pulled to its place; a killed operator leaves either the whole chart or none."""
    (archive,) = folder.glob("*.tgz")
    _check(_read(archive, "Chart.yaml"), archive.name, version)
    staged = Path(tempfile.mkdtemp(dir=place.parent, prefix=".keep-"))
    archive.rename(staged / "chart.tgz")
    (staged / "digest").write_bytes(digest)
    shutil.rmtree(place, ignore_errors=True)
    staged.rename(place)


def _unavailable(ref: str, version: str, words: str) -> str:
    """What went wrong, and the next step."""
    lowered = words.lower()
    if "not found" in lowered or "manifest unknown" in lowered:
        step = "correct spec.version or spec.chart.ref"
    elif "401" in lowered or "403" in lowered or "unauthorized" in lowered or "denied" in lowered:
        step = LOGIN
    elif "429" in lowered or "toomanyrequests" in lowered:
        step = LIMIT
    else:
        step = AWAY
    return f"cannot fetch chart {version} from {ref}: {step} ({words})"


def _cached(place: Path, version: str) -> FetchedChart | None:
    archive, digest = place / "chart.tgz", place / "digest"
    if not (archive.is_file() and digest.is_file()):
        return None
    return FetchedChart(archive, version, digest.read_text())


def _on_disk(path: Path, version: str) -> FetchedChart:
    """A chart that the admin put on the operator's disk; its digest is of its bytes."""
    try:
        _check(_read(path, "Chart.yaml"), str(path), version)
        return FetchedChart(path, version, _digest(path))
    except OSError as error:
        raise ChartUnavailableError(
            f"cannot read chart {path}: {error.strerror or error}; spec.chart.ref is a path on the operator's machine"
        ) from None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _read(path: Path, name: str) -> Mapping[str, Any]:
    """A file of YAML of a folder or an archive; OSError where it cannot be read, ChartRefusedError where it is none."""
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
        raise ChartRefusedError(f"{path} is no Helm chart of Cilium: name a folder or archive with its {name}")
    return found


def _check(metadata: Mapping[str, Any], where: str, version: str) -> None:
    name, found = metadata.get("name"), metadata.get("version")
    if name != CHART_NAME or found != version:
        raise ChartRefusedError(
            f"{where} is chart {name} {found}, and spec.version says {CHART_NAME} {version}: make them the same"
        )
