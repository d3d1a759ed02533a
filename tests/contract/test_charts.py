"""What every implementation of the Charts port keeps to: the fake of the unit tests, and Helm with a registry."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from cilium_hybrid.adapters.helm.charts import HelmCharts
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.registry import list_versions
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import ChartRefusedError, Charts, ChartUnavailableError, FetchedChart, ValuesRefusedError
from contract import tiny
from fakes import FakeCharts, PublishedChart
from testbed import binaries
from testbed.registry import Registry

VERSIONS = (f"1.17.{number}" for number in itertools.count())
NO_DIGEST = f"sha256:{'0' * 64}"


class Place(Protocol):
    """Where charts come from; `ref` is its registry."""

    charts: Charts
    ref: str

    def publish(self, version: str, mark: str = "tiny") -> None:
        """Serve a chart in the registry."""

    def put_on_disk(self, version: str, kind: str) -> str:
        """Put a chart on the operator's disk, as a folder or an archive; its reference."""

    def change_on_disk(self, ref: str, version: str) -> None:
        """Put another chart of the same version into its place."""

    def close(self) -> None:
        """Let the registry refuse every connection."""

    def answer_429(self) -> None:
        """Let the registry answer that its limit is reached."""

    def hang(self) -> None:
        """Let the registry answer nothing, and the operator wait but shortly."""

    def pulls(self) -> int:
        """How often a chart was asked of the registry."""


class FakePlace:
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
        self._fake.away = "connection refused"

    def answer_429(self) -> None:
        self._fake.away = "the registry's limit is reached"

    def hang(self) -> None:
        self._fake.away = "no whole answer"

    def pulls(self) -> int:
        return len(self._fake.pulls)

    def _publish(self, ref: str, version: str, mark: str) -> None:
        def refuses(values: Mapping[str, Any]) -> str | None:
            return None if isinstance(values.get("data", ""), str) else "data: want a string"

        self._fake.publish(ref, version, PublishedChart(digest([version, mark]), refuses, defaults=tiny.DEFAULTS))


class HelmPlace:
    def __init__(self, registry: Registry, folder: Path) -> None:
        self.ref = registry.ref
        self._registry, self._folder = registry, folder
        # Every list of more than two tags has more than one page.
        self.charts: Charts = self._charts(partial(list_versions, page=2))

    def publish(self, version: str, mark: str = "tiny") -> None:
        self._registry.push(tiny.archive(self._folder / mark / f"cilium-{version}.tgz", version, mark))
        self._registry.forget_requests()

    def put_on_disk(self, version: str, kind: str) -> str:
        return str(self._put(self._folder / "disk" / kind, version, "tiny"))

    def change_on_disk(self, ref: str, version: str) -> None:
        self._put(Path(ref), version, "changed")

    def close(self) -> None:
        self._registry.refuse()

    def answer_429(self) -> None:
        self._registry.answer_429()

    def hang(self) -> None:
        self._registry.hang()
        self.charts = self._charts(partial(list_versions, seconds=0.5))

    def pulls(self) -> int:
        return sum("/manifests/" in path for _, path in self._registry.requests)

    def _charts(self, listed: Callable[[str], Awaitable[Sequence[CiliumVersion]]]) -> Charts:
        command = HelmCommand(binaries.ensure("helm")["helm"], self._folder / "helm", lambda *_: None)
        return HelmCharts(command, self._folder / "cache", "v1.35.0", listed)

    def _put(self, path: Path, version: str, mark: str) -> Path:
        return (tiny.folder if path.name == "folder" else tiny.archive)(path, version, mark)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry.start(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def fake(tmp_path: Path) -> Place:
    return FakePlace(tmp_path)


@pytest.fixture
def helm(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("SSL_CERT_FILE", str(registry.ca_file))
    yield HelmPlace(registry, tmp_path)
    registry.serve()


@pytest.fixture(params=["fake", "helm"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def version() -> str:
    """A version that no other test serves."""
    return next(VERSIONS)


def fetch(place: Place, version: str, pinned: str | None = None, ref: str | None = None) -> FetchedChart:
    return asyncio.run(place.charts.fetch(ref or place.ref, version, pinned))


def versions(place: Place, ref: str | None = None) -> list[str]:
    return [str(version) for version in asyncio.run(place.charts.versions(ref or place.ref))]


def render(place: Place, chart: FetchedChart, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return asyncio.run(place.charts.render(chart, values))


def test_a_chart_is_pulled_once_and_kept(place: Place, version: str) -> None:
    place.publish(version)
    chart = fetch(place, version)
    pulls = place.pulls()
    again = fetch(place, version)

    assert chart.version == version
    assert chart.digest.startswith("sha256:")
    assert pulls > 0
    assert again == chart
    assert place.pulls() == pulls


def test_a_version_that_nobody_serves_is_unavailable(place: Place, version: str) -> None:
    with pytest.raises(ChartUnavailableError, match=f"cannot fetch chart {version} from {place.ref}"):
        fetch(place, version)


def test_a_version_that_is_served_later_is_found(place: Place, version: str) -> None:
    with pytest.raises(ChartUnavailableError):
        fetch(place, version)
    place.publish(version)

    assert fetch(place, version).version == version


def test_a_registry_that_is_away_is_needed_for_new_charts_alone(place: Place, version: str) -> None:
    place.publish(version)
    chart = fetch(place, version)
    place.close()

    assert fetch(place, version) == chart
    with pytest.raises(ChartUnavailableError):
        fetch(place, next(VERSIONS))


def test_the_pinned_chart_is_accepted_and_any_other_refused(place: Place, version: str) -> None:
    place.publish(version)
    chart = fetch(place, version)

    assert fetch(place, version, chart.digest) == chart
    with pytest.raises(ChartRefusedError, match=chart.digest):
        fetch(place, version, NO_DIGEST)


def test_a_chart_that_was_served_anew_is_only_taken_when_it_is_pinned(place: Place, version: str) -> None:
    place.publish(version)
    before = fetch(place, version)
    place.publish(version, "changed")
    unpinned = fetch(place, version)
    with pytest.raises(ChartRefusedError) as refused:
        fetch(place, version, NO_DIGEST)
    served = next(word for word in str(refused.value).replace(",", " ").split() if word.startswith("sha256:"))

    assert unpinned == before
    assert served != before.digest
    assert fetch(place, version, served).digest == served


def test_a_chart_renders_what_its_values_say(place: Place, version: str) -> None:
    place.publish(version)
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}
    }
    manifests = render(place, fetch(place, version), {"affinity": affinity})
    agents = [made for made in manifests if made["kind"] == "DaemonSet"]

    assert [made["metadata"]["name"] for made in agents] == ["cilium"]
    assert agents[0]["spec"]["template"]["spec"]["affinity"] == affinity


@pytest.mark.parametrize("kind", ["registry", "folder", "archive"])
def test_a_chart_tells_the_values_that_it_has_of_itself(place: Place, version: str, kind: str) -> None:
    place.publish(version)
    ref = place.ref if kind == "registry" else place.put_on_disk(version, kind)
    chart = fetch(place, version, ref=ref)

    assert asyncio.run(place.charts.defaults(chart)) == tiny.DEFAULTS


def test_values_that_the_chart_does_not_take_are_refused(place: Place, version: str) -> None:
    place.publish(version)
    chart = fetch(place, version)

    with pytest.raises(ValuesRefusedError, match="data"):
        render(place, chart, {"data": {"no": "string"}})
    assert render(place, chart, {"data": "a string"})


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_chart_on_disk_needs_no_registry(place: Place, version: str, kind: str) -> None:
    ref = place.put_on_disk(version, kind)
    place.close()
    chart = fetch(place, version, ref=ref)

    assert fetch(place, version, chart.digest, ref) == chart
    assert render(place, chart, {})
    with pytest.raises(ChartRefusedError):
        fetch(place, version, NO_DIGEST, ref)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_chart_on_disk_is_read_each_time(place: Place, version: str, kind: str) -> None:
    ref = place.put_on_disk(version, kind)
    before = fetch(place, version, ref=ref)
    place.change_on_disk(ref, version)

    assert fetch(place, version, ref=ref).digest != before.digest


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_chart_on_disk_of_another_version_is_refused(place: Place, version: str, kind: str) -> None:
    ref = place.put_on_disk(version, kind)

    with pytest.raises(ChartRefusedError):
        fetch(place, "9.9.9", ref=ref)


def test_a_path_where_nothing_is_may_be_filled_later(place: Place, version: str) -> None:
    with pytest.raises(ChartUnavailableError, match="/nowhere/cilium"):
        fetch(place, version, ref="/nowhere/cilium")


def test_the_versions_of_a_registry_are_those_that_are_served(place: Place, version: str) -> None:
    builds = [version, f"{version}-0", f"{version}-9", f"{version}-10"]
    for build in reversed(builds):
        place.publish(build)
    found = versions(place)

    assert [build for build in found if build in builds] == builds
    assert len(found) == len(set(found))


def test_a_tag_that_is_no_version_is_passed_over(place: Place, version: str) -> None:
    place.publish(version)
    place.publish(f"{version}-rc.1")
    found = versions(place)

    assert version in found
    assert f"{version}-rc.1" not in found


def test_a_version_that_is_served_later_is_listed(place: Place, version: str) -> None:
    place.publish(version)
    later = next(VERSIONS)
    before = versions(place)
    place.publish(later)

    assert later not in before
    assert later in versions(place)


def test_a_repository_that_is_unknown_has_no_list(place: Place, version: str) -> None:
    place.publish(version)

    with pytest.raises(ChartUnavailableError, match=f"cannot list the versions of {place.ref}-of-nobody: "):
        versions(place, f"{place.ref}-of-nobody")


@pytest.mark.parametrize(
    ("ail", "words"),
    [
        pytest.param("close", "refused|Connect call failed", id="it refuses connections"),
        pytest.param("answer_429", "limit is reached", id="its limit is reached"),
        pytest.param("hang", "no whole answer", id="it hangs"),
    ],
)
def test_a_registry_that_is_ill_has_no_list(place: Place, version: str, ail: str, words: str) -> None:
    place.publish(version)
    getattr(place, ail)()

    with pytest.raises(ChartUnavailableError, match=f"cannot list the versions of {place.ref}: .*({words})"):
        versions(place)


def test_a_path_is_in_no_registry(place: Place) -> None:
    with pytest.raises(ChartUnavailableError, match="cannot list the versions of /nowhere/cilium"):
        versions(place, "/nowhere/cilium")
