"""docs/settings.md lists every setting with its real default."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cilium_hybrid.settings import Settings
from testbed.operator import ROOT

ROWS: Mapping[str, str] = dict(
    re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
)
LITERALS = {name: default.strip("`") for name, default in ROWS.items() if re.fullmatch(r"`[^`]+`", default)}
READ_BY_LIBRARIES = {"SSL_CERT_FILE"}
"""The TLS libraries of Python and Helm read it."""
NOT_SETTINGS = {"PATH", "KUBERNETES_SERVICE_HOST"}


class RecordingEnvironment(Mapping[str, str]):
    """An environment that remembers which variables were read."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables, self.read = variables, set[str]()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return name in self._variables


@pytest.fixture
def path(tmp_path: Path) -> str:
    helm = tmp_path / "helm"
    helm.write_text("#!/bin/sh\n")
    helm.chmod(0o755)
    return str(tmp_path)


def test_every_setting_is_documented(path: str) -> None:
    environment = RecordingEnvironment({"PATH": path})
    Settings.from_environment(environment)

    assert environment.read - NOT_SETTINGS == ROWS.keys() - READ_BY_LIBRARIES


def test_every_documented_default_is_the_real_one(path: str) -> None:
    def read(variables: Mapping[str, str]) -> Settings:
        # Without POD_NAME, no two processes have the same identity.
        return replace(Settings.from_environment({"PATH": path, **variables}), identity="")

    assert LITERALS.keys() == {
        "CILIUM_HYBRID_HELM",
        "CILIUM_HYBRID_RESYNC",
        "CILIUM_HYBRID_LEADER_ELECTION",
        "CILIUM_HYBRID_METRICS_ADDR",
        "CILIUM_HYBRID_LOG_FORMAT",
    }
    assert read(LITERALS) == read({})


def test_the_documented_default_namespace_is_the_real_one(path: str) -> None:
    assert f"`{Settings.from_environment({'PATH': path}).namespace}`" in ROWS["CILIUM_HYBRID_NAMESPACE"]
