"""Sites for the end-to-end tests: one cluster, one operator and one registry for each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.package import package_all
from e2e.site import Site, start_site
from testbed.registry import Registry


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the stand-in chart in every version."""
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
    """A cluster of five hybrid and two cloud nodes with deploy/ applied; the operator is not running yet."""
    with start_site(tmp_path_factory.mktemp("cluster"), registry) as started:
        yield started


@pytest.fixture(scope="module")
def site(bare_site: Site) -> Iterator[Site]:
    """`bare_site` with the operator running."""
    bare_site.operator.start()
    yield bare_site
    bare_site.operator.stop()
