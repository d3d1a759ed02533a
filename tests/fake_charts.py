"""Charts in memory: a registry and what its charts render."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cilium_hybrid.api.versions import VERSION_PATTERN, CiliumVersion
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import (
    ChartRefusedError,
    ChartUnavailableError,
    FetchedChart,
    PortError,
    Rendered,
    ValuesRefusedError,
)

Values = Mapping[str, Any]
Manifests = Sequence[Mapping[str, Any]]


def render_agents(values: Values) -> Manifests:
    """Render the DaemonSet `cilium` with the affinity of the values."""
    pod = {"affinity": values.get("affinity", {})}
    agents = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "cilium"}}
    return [{**agents, "spec": {"template": {"spec": pod}}}]


def accept_all(_: Values) -> str | None:
    """Accept all values."""
    return None


@dataclass(frozen=True)
class PublishedChart:
    """A chart in the registry: `refuses` returns why values are invalid, `renders` the manifests for values."""

    digest: str
    refuses: Callable[[Values], str | None] = accept_all
    renders: Callable[[Values], Manifests] = render_agents
    defaults: Values = field(default_factory=dict)


class FakeCharts:
    """Charts in memory. `pulls` are the requests to the registry, `outage` its error while it is unavailable.

    `rendered` are the release names of each rendering, and `problem` is what Helm reports after each.
    """

    def __init__(self) -> None:
        self.pulls: list[tuple[str, str]] = []
        self.rendered: list[str] = []
        self.outage: str | None = None
        self.problem: PortError | None = None
        self._published: dict[tuple[str, str], PublishedChart] = {}
        self._cached: dict[tuple[str, str], PublishedChart] = {}

    def publish(self, ref: str, version: str, chart: PublishedChart | None = None) -> str:
        """Publish a chart, which may replace another, and return its digest."""
        chart = chart or PublishedChart(digest([ref, version]))
        self._published[ref, version] = chart
        return chart.digest

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Fetch chart `version` of `ref`; ChartUnavailableError, ChartRefusedError."""
        if not ref.startswith("oci://"):
            chart = self._on_disk(ref, version)
        else:
            cached = self._cached.get((ref, version))
            matches = cached is not None and pinned_digest in {None, cached.digest}
            chart = cached if cached is not None and matches else self._pull(ref, version)
        if pinned_digest not in {None, chart.digest}:
            raise ChartRefusedError(f"chart {version} of {ref} has digest {chart.digest}, not {pinned_digest}")
        return FetchedChart(_path(ref, version), version, chart.digest)

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        """List the versions of `ref`; ChartUnavailableError."""
        if self.outage is not None:
            raise ChartUnavailableError(f"cannot list the versions of {ref}: {self.outage}")
        tags = [version for place, version in self._published if place == ref]
        if not tags:
            raise ChartUnavailableError(f"cannot list the versions of {ref}: not found")
        return sorted(CiliumVersion.parse(tag) for tag in tags if re.fullmatch(VERSION_PATTERN, tag))

    async def defaults(self, chart: FetchedChart) -> Values:
        """Return the default values of the chart; ChartRefusedError, ChartUnavailableError."""
        return self._at(chart).defaults

    async def render(self, chart: FetchedChart, values: Values, release: str = RELEASE) -> Rendered:
        """Render the chart; ValuesRefusedError."""
        self.rendered.append(release)
        published = self._at(chart)
        fault = published.refuses(values)
        if fault is not None:
            raise ValuesRefusedError(f"chart {chart.version} rejects the values: {fault}; correct spec.values")
        return Rendered(published.renders(values), problem=self.problem)

    def forget(self, chart: FetchedChart) -> None:
        """Lose a fetched chart, so that it must be fetched again."""
        self._cached = {place: found for place, found in self._cached.items() if _path(*place) != chart.path}

    def _at(self, chart: FetchedChart) -> PublishedChart:
        return next(published for at, published in self._published.items() if _path(*at) == chart.path)

    def _pull(self, ref: str, version: str) -> PublishedChart:
        self.pulls.append((ref, version))
        if self.outage is not None:
            raise ChartUnavailableError(f"cannot fetch chart {version} from {ref}: {self.outage}")
        if (ref, version) not in self._published:
            raise ChartUnavailableError(f"cannot fetch chart {version} from {ref}: not found")
        self._cached[ref, version] = self._published[ref, version]
        return self._cached[ref, version]

    def _on_disk(self, path: str, version: str) -> PublishedChart:
        if (path, version) in self._published:
            return self._published[path, version]
        if any(published == path for published, _ in self._published):
            raise ChartRefusedError(f"the chart at {path} is not of version {version}")
        raise ChartUnavailableError(f"cannot read chart {path}: no such file")


def _path(ref: str, version: str) -> Path:
    return Path(ref.replace("oci://", "/charts/")) / version
