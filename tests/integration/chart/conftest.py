from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from chart.package import package_all
from chart.rendering import AWS_VALUES, PREFLIGHT_VALUES, Rendered, render
from testbed.binaries import ensure


@pytest.fixture(scope="session")
def helm() -> Path:
    return ensure("helm")["helm"]


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the archive of every version of the test chart, packaged once."""
    archives = package_all(tmp_path_factory.mktemp("charts"))
    return {archive.stem.removeprefix("cilium-"): archive for archive in archives}


@pytest.fixture(scope="session")
def aws(helm: Path, charts: dict[str, Path]) -> Callable[[str], Rendered]:
    """Return the main release with the values of the AWS guide, rendered once for each version."""
    return cache(lambda version: render(helm, charts[version], AWS_VALUES))


@pytest.fixture(scope="session")
def preflight(helm: Path, charts: dict[str, Path]) -> Callable[[str], Rendered]:
    """Return the preflight release, rendered once for each version."""
    return cache(lambda version: render(helm, charts[version], PREFLIGHT_VALUES))
