"""Upgrades over two minor versions under traffic: by the operator in both strategies, and by hand as in the guide."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from chart.rendering import AWS_VALUES
from real.site import NODES, RealSite, start_real_site
from testbed.nodes import is_ready
from testbed.processes import wait_until
from testbed.site.traffic import GAP

MINORS = ("1.17", "1.18", "1.19")
LIMIT = 400.0
pytestmark = pytest.mark.real


@dataclass(frozen=True, slots=True)
class Step:
    """What was sent and lost during one step of an upgrade."""

    flow: str
    versions: str
    sent: int
    lost: int
    longest_gap: float
    stream: str

    def __str__(self) -> str:
        broken = self.stream or "kept"
        gap = "none" if self.longest_gap <= GAP else f"{self.longest_gap * 1000:.0f} ms"
        return f"{self.versions} {self.flow}: {self.sent} sent, {self.lost} lost, longest gap {gap}, stream {broken}"


class Measurement:
    """The steps of one way of upgrading."""

    def __init__(self, site: RealSite) -> None:
        self.steps: list[Step] = []
        self._flows = (site.start_flow("across", NODES[0], NODES[1]), site.start_flow("within", NODES[0], NODES[0]))

    @contextmanager
    def step(self, versions: str) -> Iterator[None]:
        """Measure what is sent in this block."""
        before, began = {flow.name: flow.report() for flow in self._flows}, time.time()
        yield
        for flow in self._flows:
            then, now = before[flow.name], flow.settle()
            sent, lost = now.sent - then.sent, now.lost - then.lost
            gap = max((seconds for ended_at, seconds in now.gaps if ended_at >= began), default=GAP)
            self.steps.append(Step(flow.name, versions, sent, lost, gap, now.stream_broken))


def _until_all_run(site: RealSite, version: str) -> None:
    """Wait until the agent of this version is Ready on every node."""
    wait_until(
        lambda: set(site.running().values()) == {version} and sum(map(is_ready, site.pods())) == len(NODES),
        timeout=LIMIT,
        what=f"every agent runs {version}",
    )


def _by_operator(site: RealSite, strategy: str) -> Measurement:
    versions = [site.version(minor) for minor in MINORS]
    rules = {"rollout": {"soak": "1s", "strategy": strategy}}
    site.apply(version=versions[0], upgrade=rules)
    site.wait_for("InSync", ready="True", timeout=120)
    site.wait_until_verified()
    measurement = Measurement(site)
    with measurement.step(f"{MINORS[0]} → {MINORS[1]}"):
        site.apply(version=versions[-1], upgrade=rules)
        _until_all_run(site, versions[1])
    with measurement.step(f"{MINORS[1]} → {MINORS[2]}"):
        site.wait_for("InSync", ready="True", timeout=LIMIT)
    return measurement


def _by_hand(site: RealSite) -> Measurement:
    """Install and upgrade with the commands and the values of the guide."""
    site.operator.stop()
    values = site.cluster.folder / "values.yaml"
    values.write_text(yaml.safe_dump(AWS_VALUES))
    versions = [site.version(minor) for minor in MINORS]

    def helm(command: str, version: str) -> None:
        words = (command, "cilium", site.registry.ref, "--version", version, "-n", "kube-system", "-f", values)
        site.cluster.helm(*words, env=site.registry.env)
        site.cluster.kubectl("-n", "kube-system", "rollout", "status", "daemonset/cilium", f"--timeout={LIMIT}s")

    helm("install", versions[0])
    wait_until(lambda: site.cluster.ready_nodes() == len(NODES) + 2, timeout=60, what="every node is ready")
    measurement = Measurement(site)
    for number in (1, 2):
        with measurement.step(f"{MINORS[number - 1]} → {MINORS[number]}"):
            helm("upgrade", versions[number])
            _until_all_run(site, versions[number])
    return measurement


@pytest.mark.parametrize("way", ["Gated", "RollingUpdate", "by hand"])
def test_an_upgrade_under_traffic(way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with start_real_site(tmp_path, MINORS) as site:
        measurement = _by_hand(site) if way == "by hand" else _by_operator(site, way)

    with capsys.disabled():
        print(f"\n{way}:", *measurement.steps, sep="\n  ")  # noqa: T201 # the table is the result
    assert {step.stream for step in measurement.steps} == {""}
    if way == "Gated":
        assert {step.lost for step in measurement.steps} == {0}
