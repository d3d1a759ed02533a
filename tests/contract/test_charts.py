"""The contract of the Charts port, for the fake of the unit tests and for Helm with a registry."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from cilium_hybrid.adapters.helm import command
from cilium_hybrid.adapters.helm.charts import HelmCharts
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.registry import list_versions
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import ChartRefusedError, Charts, ChartUnavailableError, FetchedChart, ValuesRefusedError
from contract import tiny_chart
from fakes import FakeCharts, PublishedChart
from testbed import binaries
from testbed.cluster import Cluster
from testbed.registry import Registry

VERSIONS = (f"1.17.{number}" for number in itertools.count())
NO_DIGEST = f"sha256:{'0' * 64}"


class ChartsHarness(Protocol):
    """An implementation of Charts, and who publishes charts. `ref` is the reference of the registry."""

    charts: Charts
    ref: str

    def publish(self, version: str, mark: str = "tiny") -> None:
        """Push a chart to the registry."""

    def put_on_disk(self, version: str, kind: str) -> str:
        """Store a chart on the operator's disk as a directory or an archive; return its path."""

    def change_on_disk(self, ref: str, version: str) -> None:
        """Replace the chart by another one of the same version."""

    def close(self) -> None:
        """Make the registry refuse connections."""

    def answer_429(self) -> None:
        """Make the registry answer 429."""

    def hang(self) -> None:
        """Make the registry accept requests and not answer, and shorten the client's timeouts."""

    def serve(self) -> None:
        """Make the registry answer again."""

    def damage_cache(self, chart: FetchedChart) -> None:
        """Truncate a fetched chart on the operator's disk."""

    def pulls(self) -> int:
        """Return how many requests for charts the registry received."""


class FakeHarness:
    def __init__(self, disk: Path) -> None:
        self._fake = FakeCharts()
        self.charts: Charts = self._fake
        self.ref = "oci://registry.example/eks/cilium/cilium"
        self._disk = disk

    def publish(self, version: str, mark: str = "tiny") -> None:
        self._publish(self.ref, version, mark)

    def put_on_disk(self, version: str, kind: str) -> str:
        ref = str(self._disk / kind)
        self._publish(ref, version, "tiny")
        return ref

    def change_on_disk(self, ref: str, version: str) -> None:
        self._publish(ref, version, "changed")

    def close(self) -> None:
        self._fake.outage = "connection refused"

    def answer_429(self) -> None:
        self._fake.outage = "the registry limits requests"

    def hang(self) -> None:
        self._fake.outage = "no complete answer"

    def serve(self) -> None:
        self._fake.outage = None

    def damage_cache(self, chart: FetchedChart) -> None:
        self._fake.forget(chart)

    def pulls(self) -> int:
        return len(self._fake.pulls)

    def _publish(self, ref: str, version: str, mark: str) -> None:
        def rejects(values: Mapping[str, Any]) -> str | None:
            return None if isinstance(values.get("data", ""), str) else "data: want a string"

        self._fake.publish(ref, version, PublishedChart(digest([version, mark]), rejects, defaults=tiny_chart.DEFAULTS))


class HelmHarness:
    def __init__(self, registry: Registry, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ref, self._monkeypatch = registry.ref, monkeypatch
        self._registry, self._directory = registry, directory
        # More than two tags take more than one page.
        self.charts: Charts = self._charts(partial(list_versions, page=2))

    def publish(self, version: str, mark: str = "tiny") -> None:
        self._registry.push(tiny_chart.archive(self._directory / mark / f"cilium-{version}.tgz", version, mark))
        self._registry.forget_requests()

    def put_on_disk(self, version: str, kind: str) -> str:
        return str(self._put(self._directory / "disk" / kind, version, "tiny"))

    def change_on_disk(self, ref: str, version: str) -> None:
        self._put(Path(ref), version, "changed")

    def close(self) -> None:
        self._registry.refuse()

    def answer_429(self) -> None:
        self._registry.answer_429()

    def hang(self) -> None:
        self._registry.hang()
        self.charts = self._charts(partial(list_versions, seconds=0.5))
        self._monkeypatch.setattr(command, "READ_SECONDS", 2.0)

    def serve(self) -> None:
        self._registry.serve()
        self._monkeypatch.setattr(command, "READ_SECONDS", 60.0)

    def damage_cache(self, chart: FetchedChart) -> None:
        chart.path.write_bytes(chart.path.read_bytes()[:-1])

    def pulls(self) -> int:
        return sum("/manifests/" in path for _, path in self._registry.requests)

    def _charts(self, list_tags: Callable[[str], Awaitable[Sequence[CiliumVersion]]]) -> Charts:
        helm = HelmCommand(binaries.ensure("helm")["helm"], self._directory / "helm", lambda *_: None)
        return HelmCharts(helm, self._directory / "cache", list_tags)

    def _put(self, path: Path, version: str, mark: str) -> Path:
        return (tiny_chart.directory if path.name == "directory" else tiny_chart.archive)(path, version, mark)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry.start(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def fake(tmp_path: Path) -> ChartsHarness:
    return FakeHarness(tmp_path)


@pytest.fixture
def helm(
    registry: Registry, testbed_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ChartsHarness]:
    monkeypatch.setenv("SSL_CERT_FILE", str(registry.ca_file))
    # Charts are rendered with the capabilities and lookups of a cluster.
    monkeypatch.setenv("KUBECONFIG", str(testbed_cluster.kubeconfig))
    yield HelmHarness(registry, tmp_path, monkeypatch)
    registry.serve()


@pytest.fixture(params=["fake", "helm"])
def harness(request: pytest.FixtureRequest) -> ChartsHarness:
    found: ChartsHarness = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def version() -> str:
    """A version that no other test publishes."""
    return next(VERSIONS)


def fetch(harness: ChartsHarness, version: str, pinned: str | None = None, ref: str | None = None) -> FetchedChart:
    return asyncio.run(harness.charts.fetch(ref or harness.ref, version, pinned))


def versions(harness: ChartsHarness, ref: str | None = None) -> list[str]:
    return [str(version) for version in asyncio.run(harness.charts.versions(ref or harness.ref))]


def render(harness: ChartsHarness, chart: FetchedChart, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return asyncio.run(harness.charts.render(chart, values)).manifests


def test_a_chart_is_pulled_once_and_cached(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    chart = fetch(harness, version)
    pulls = harness.pulls()
    again = fetch(harness, version)

    assert chart.version == version
    assert chart.digest.startswith("sha256:")
    assert pulls > 0
    assert again == chart
    assert harness.pulls() == pulls


def test_an_unpublished_version_is_unavailable(harness: ChartsHarness, version: str) -> None:
    with pytest.raises(ChartUnavailableError, match=f"cannot fetch chart {version} from {harness.ref}"):
        fetch(harness, version)


def test_a_version_that_is_published_later_is_found(harness: ChartsHarness, version: str) -> None:
    with pytest.raises(ChartUnavailableError):
        fetch(harness, version)
    harness.publish(version)

    assert fetch(harness, version).version == version


def test_cached_charts_do_not_need_the_registry(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    chart = fetch(harness, version)
    harness.close()

    assert fetch(harness, version) == chart
    with pytest.raises(ChartUnavailableError):
        fetch(harness, next(VERSIONS))


def test_20_a_registry_that_stays_silent_makes_a_chart_unavailable(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    harness.hang()
    with pytest.raises(ChartUnavailableError, match=f"cannot fetch chart {version} from {harness.ref}: no complete"):
        fetch(harness, version)
    harness.serve()

    assert fetch(harness, version).version == version


def test_20_a_damaged_chart_is_fetched_again(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    chart = fetch(harness, version)
    pulls = harness.pulls()
    harness.damage_cache(chart)

    assert fetch(harness, version) == chart
    assert harness.pulls() > pulls
    assert render(harness, chart, {})


def test_a_chart_with_another_digest_than_the_pinned_one_is_refused(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    chart = fetch(harness, version)

    assert fetch(harness, version, chart.digest) == chart
    with pytest.raises(ChartRefusedError, match=chart.digest):
        fetch(harness, version, NO_DIGEST)


def test_a_republished_chart_is_used_only_if_its_digest_is_pinned(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    before = fetch(harness, version)
    harness.publish(version, "changed")
    unpinned = fetch(harness, version)
    with pytest.raises(ChartRefusedError) as refused:
        fetch(harness, version, NO_DIGEST)
    served = next(word for word in str(refused.value).replace(",", " ").split() if word.startswith("sha256:"))

    assert unpinned == before
    assert served != before.digest
    assert fetch(harness, version, served).digest == served


def test_a_chart_is_rendered_with_the_values(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}
    }
    manifests = render(harness, fetch(harness, version), {"affinity": affinity})
    agents = [manifest for manifest in manifests if manifest["kind"] == "DaemonSet"]

    assert [manifest["metadata"]["name"] for manifest in agents] == ["cilium"]
    assert agents[0]["spec"]["template"]["spec"]["affinity"] == affinity


@pytest.mark.parametrize("kind", ["registry", "directory", "archive"])
def test_default_values_of_a_chart(harness: ChartsHarness, version: str, kind: str) -> None:
    harness.publish(version)
    ref = harness.ref if kind == "registry" else harness.put_on_disk(version, kind)
    chart = fetch(harness, version, ref=ref)

    assert asyncio.run(harness.charts.defaults(chart)) == tiny_chart.DEFAULTS


def test_values_that_the_chart_rejects(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    chart = fetch(harness, version)

    with pytest.raises(ValuesRefusedError, match="data"):
        render(harness, chart, {"data": {"no": "string"}})
    assert render(harness, chart, {"data": "a string"})


@pytest.mark.parametrize("kind", ["directory", "archive"])
def test_a_chart_on_disk_does_not_need_the_registry(harness: ChartsHarness, version: str, kind: str) -> None:
    ref = harness.put_on_disk(version, kind)
    harness.close()
    chart = fetch(harness, version, ref=ref)

    assert fetch(harness, version, chart.digest, ref) == chart
    assert render(harness, chart, {})
    with pytest.raises(ChartRefusedError):
        fetch(harness, version, NO_DIGEST, ref)


@pytest.mark.parametrize("kind", ["directory", "archive"])
def test_a_chart_on_disk_is_not_cached(harness: ChartsHarness, version: str, kind: str) -> None:
    ref = harness.put_on_disk(version, kind)
    before = fetch(harness, version, ref=ref)
    harness.change_on_disk(ref, version)

    assert fetch(harness, version, ref=ref).digest != before.digest


@pytest.mark.parametrize("kind", ["directory", "archive"])
def test_a_chart_on_disk_with_another_version_is_refused(harness: ChartsHarness, version: str, kind: str) -> None:
    ref = harness.put_on_disk(version, kind)

    with pytest.raises(ChartRefusedError):
        fetch(harness, "9.9.9", ref=ref)


def test_a_missing_path_is_unavailable(harness: ChartsHarness, version: str) -> None:
    with pytest.raises(ChartUnavailableError, match="/nowhere/cilium"):
        fetch(harness, version, ref="/nowhere/cilium")


def test_all_published_versions_are_listed_in_order(harness: ChartsHarness, version: str) -> None:
    builds = [version, f"{version}-0", f"{version}-9", f"{version}-10"]
    for build in reversed(builds):
        harness.publish(build)
    found = versions(harness)

    assert [build for build in found if build in builds] == builds
    assert len(found) == len(set(found))


def test_tags_that_are_not_versions_are_ignored(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    harness.publish(f"{version}-rc.1")
    found = versions(harness)

    assert version in found
    assert f"{version}-rc.1" not in found


def test_a_version_that_is_published_later_is_listed(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)
    later = next(VERSIONS)
    before = versions(harness)
    harness.publish(later)

    assert later not in before
    assert later in versions(harness)


def test_listing_an_unknown_repository_fails(harness: ChartsHarness, version: str) -> None:
    harness.publish(version)

    with pytest.raises(ChartUnavailableError, match=f"cannot list the versions of {harness.ref}-unknown: "):
        versions(harness, f"{harness.ref}-unknown")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        pytest.param("close", "refused|Connect call failed", id="refuses connections"),
        pytest.param("answer_429", "limits requests", id="rate limit"),
        pytest.param("hang", "no complete answer", id="does not answer"),
    ],
)
def test_listing_fails_if_the_registry_fails(harness: ChartsHarness, version: str, failure: str, message: str) -> None:
    harness.publish(version)
    getattr(harness, failure)()

    with pytest.raises(ChartUnavailableError, match=f"cannot list the versions of {harness.ref}: .*({message})"):
        versions(harness)


def test_listing_the_versions_of_a_path_fails(harness: ChartsHarness) -> None:
    with pytest.raises(ChartUnavailableError, match="cannot list the versions of /nowhere/cilium"):
        versions(harness, "/nowhere/cilium")
