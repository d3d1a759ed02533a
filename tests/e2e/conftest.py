"""Sites for the end-to-end tests: one cluster and one operator a module, one registry for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.package import package_all
from e2e.site import Site, a_site
from testbed.registry import Registry


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-in chart in every version."""
    folder = tmp_path_factory.mktemp("charts")
    package_all(folder)
    return folder


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, charts: Path) -> Iterator[Registry]:
    """A registry that holds the stand-in chart in every version."""
    with Registry.start(tmp_path_factory.mktemp("registry")) as started:
        for archive in sorted(charts.glob("*.tgz")):
            started.push(archive)
        started.forget_requests()
        yield started


@pytest.fixture(scope="module")
def bare_site(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Site]:
    """A cluster of five hybrid and two cloud nodes with deploy/ applied; the operator is not started yet."""
    with a_site(tmp_path_factory.mktemp("cluster"), registry) as made:
        yield made


@pytest.fixture(scope="module")
def site(bare_site: Site) -> Iterator[Site]:
    """The same with the operator running."""
    bare_site.operator.start()
    yield bare_site
    bare_site.operator.stop()
