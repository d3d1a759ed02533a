"""The chart registry: versions, outages, other digests, and what charts render."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import ChartRefusedError, ChartUnavailableError, FetchedChart, ValuesRefusedError
from simulation.objects import INVALID_CPU, REFUSED_CPU, Badness, limit

MISSING_CHART: Final = "/charts/missing"

VERSIONS: Final = (
    "1.17.9-0",
    "1.17.13-1",
    "1.18.3-0",
    "1.18.8-1",
    "1.19.4-1",
    "1.19.6-0",
)
"""The versions that the registry has at first."""
_AFFINITY: Final[Mapping[str, Any]] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "eks.amazonaws.com/compute-type", "operator": "In", "values": ["hybrid"]}
                    ]
                }
            ]
        }
    }
}


class Registry:
    """The registry of all charts.

    `silent`: it accepts requests and does not answer. `bad_versions` are the versions whose agents fail, whatever their
    values. `refused_charts` have a folder `crds/`.
    """

    def __init__(self) -> None:
        self.up = True
        self.silent = False
        self.versions = set(VERSIONS)
        self.republished: set[str] = set()
        self.bad_versions: dict[str, Badness] = {}
        self.failing_preflights: set[str] = set()
        self.refused_charts: set[str] = set()
        self._cached: dict[tuple[str, str], str] = {}

    def digest(self, ref: str, version: str) -> str:
        """Return the digest under which a chart is served now."""
        return digest([ref, version, version in self.republished])

    def fetch(self, ref: str, version: str, pinned_digest: str | None) -> FetchedChart:
        """Fetch a chart as the port says."""
        if ref.startswith(MISSING_CHART):
            raise ChartUnavailableError(f"cannot read chart {ref}: No such file or directory")
        if version in self.refused_charts and self.up:
            raise ChartRefusedError(f"chart {version} has a folder crds/")
        found = self._cached.get((ref, version))
        if found is None or pinned_digest not in {None, found}:
            if not self.up:
                raise ChartUnavailableError(f"cannot fetch chart {version} from {ref}: i/o timeout")
            if version not in self.versions:
                raise ChartUnavailableError(f"cannot fetch chart {version} from {ref}: not found")
            found = self._cached[ref, version] = self.digest(ref, version)
        if pinned_digest not in {None, found}:
            raise ChartRefusedError(f"chart {version} of {ref} has digest {found}, not {pinned_digest}")
        return FetchedChart(Path("/charts") / version, version, found)

    def list_versions(self, ref: str) -> Sequence[CiliumVersion]:
        """List the versions as the port says."""
        if not self.up:
            raise ChartUnavailableError(f"cannot list the versions of {ref}: i/o timeout")
        return sorted(CiliumVersion.parse(version) for version in self.versions)


def render(chart: FetchedChart, values: Mapping[str, Any], release: str) -> Sequence[Mapping[str, Any]]:
    """Render the objects that the rules look at."""
    cpu = limit(values, kind="cpu")
    if cpu == INVALID_CPU:
        raise ValuesRefusedError(f"chart {chart.version} rejects the values: resources; correct spec.values")
    name = "cilium" if release == RELEASE else "cilium-pre-flight-check"
    agents = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"affinity": _AFFINITY}}},
    }
    extra = [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}}] if cpu == REFUSED_CPU else []
    return [agents, *extra]
