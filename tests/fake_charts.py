"""Charts in memory: a registry, and what a chart makes of values."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cilium_hybrid.api.versions import VERSION_PATTERN, CiliumVersion
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import ChartRefusedError, ChartUnavailableError, FetchedChart, ValuesRefusedError

Values = Mapping[str, Any]
Manifests = Sequence[Mapping[str, Any]]


def agents_where_asked(values: Values) -> Manifests:
    """What a chart renders by default: the DaemonSet `cilium`, on the nodes that the values say."""
    pod = {"affinity": values.get("affinity", {})}
    agents = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "cilium"}}
    return [{**agents, "spec": {"template": {"spec": pod}}}]


def takes_anything(_: Values) -> str | None:
    """A chart that refuses no values."""
    return None


@dataclass(frozen=True)
class PublishedChart:
    """A chart that is served: `refuses` says why values are wrong, `renders` what they lead to."""

    digest: str
    refuses: Callable[[Values], str | None] = takes_anything
    renders: Callable[[Values], Manifests] = agents_where_asked
    defaults: Values = field(default_factory=dict)


class FakeCharts:
    """Charts in memory. `pulls` tells each way to the registry; `away` is what it says while it is away.

    `rendered` names the release of each rendering.
    """

    def __init__(self) -> None:
        self.pulls: list[tuple[str, str]] = []
        self.rendered: list[str] = []
        self.away: str | None = None
        self._served: dict[tuple[str, str], PublishedChart] = {}
        self._kept: dict[tuple[str, str], PublishedChart] = {}

    def publish(self, ref: str, version: str, chart: PublishedChart | None = None) -> str:
        """Serve a chart, instead of what was served there before; returns its digest."""
        chart = chart or PublishedChart(digest([ref, version]))
        self._served[ref, version] = chart
        return chart.digest

    async def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Chart `version` of `ref`; ChartUnavailableError, ChartRefusedError."""
        if not ref.startswith("oci://"):
            chart = self._on_disk(ref, version)
        else:
            kept = self._kept.get((ref, version))
            fits = kept is not None and pinned_digest in {None, kept.digest}
            chart = kept if kept is not None and fits else self._pull(ref, version)
        if pinned_digest not in {None, chart.digest}:
            raise ChartRefusedError(f"chart {version} of {ref} has digest {chart.digest}, not {pinned_digest}")
        return FetchedChart(_path(ref, version), version, chart.digest)

    async def versions(self, ref: str) -> Sequence[CiliumVersion]:
        """The versions that the registry has of `ref`, asked anew each time; ChartUnavailableError."""
        if self.away is not None:
            raise ChartUnavailableError(f"cannot list the versions of {ref}: {self.away}")
        tags = [version for place, version in self._served if place == ref]
        if not tags:
            raise ChartUnavailableError(f"cannot list the versions of {ref}: not found")
        return sorted(CiliumVersion.parse(tag) for tag in tags if re.fullmatch(VERSION_PATTERN, tag))

    async def defaults(self, chart: FetchedChart) -> Values:
        """The values that the chart has of itself; ChartRefusedError, ChartUnavailableError."""
        return self._at(chart).defaults

    async def render(self, chart: FetchedChart, values: Values, release: str = RELEASE) -> Manifests:
        """What the chart makes of the values for a release, object by object; ValuesRefusedError."""
        self.rendered.append(release)
        chart_versions = self._at(chart)
        fault = chart_versions.refuses(values)
        if fault is not None:
            raise ValuesRefusedError(f"chart {chart.version} refuses the values: {fault}")
        return chart_versions.renders(values)

    def _at(self, chart: FetchedChart) -> PublishedChart:
        return next(made for at, made in self._served.items() if _path(*at) == chart.path)

    def _pull(self, ref: str, version: str) -> PublishedChart:
        self.pulls.append((ref, version))
        if self.away is not None:
            raise ChartUnavailableError(f"cannot fetch chart {version} from {ref}: {self.away}")
        if (ref, version) not in self._served:
            raise ChartUnavailableError(f"cannot fetch chart {version} from {ref}: not found")
        self._kept[ref, version] = self._served[ref, version]
        return self._kept[ref, version]

    def _on_disk(self, path: str, version: str) -> PublishedChart:
        if (path, version) in self._served:
            return self._served[path, version]
        if any(there == path for there, _ in self._served):
            raise ChartRefusedError(f"the chart at {path} is not of version {version}")
        raise ChartUnavailableError(f"cannot read chart {path}: no such file")


def _path(ref: str, version: str) -> Path:
    return Path(ref.replace("oci://", "/charts/")) / version
