"""One site of real nodes under test, with pods that send packets to each other."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from e2e.site import PLAIN_LOG, Site
from testbed.cluster import Cluster
from testbed.nodes import hybrid_name, is_ready
from testbed.operator import install, operator
from testbed.processes import wait_until
from testbed.registry import Registry
from testbed.site import programs
from testbed.site.real_nodes import TESTS, RealNodes
from testbed.site.traffic import LOST_AFTER, Report

NODES = (hybrid_name(1), hybrid_name(2))
START_LIMIT = 60.0
# In numbers, of which the stream carries 50 a second.
STREAM_BEHIND = 250


@dataclass
class Flow:
    """Traffic from one pod to another; `report` is a file that the sender writes."""

    name: str
    file: Path

    def report(self) -> Report:
        """Return what was sent and lost so far; a stream that does not continue is a broken one."""
        report = Report(**json.loads(self.file.read_text()))
        if not report.stream_broken and report.stream_sent - report.stream_received > STREAM_BEHIND:
            return replace(report, stream_broken=f"{report.stream_received} of {report.stream_sent} came back")
        return report

    def settle(self) -> Report:
        """Return the report once it counts everything that was sent before this call."""
        until = self.report().elapsed + LOST_AFTER + 1
        what = f"what {self.name} has sent is counted"
        wait_until(lambda: self.report().elapsed > until, timeout=START_LIMIT, what=what)
        return self.report()


class RealSite(Site):
    """A site whose hybrid nodes are real."""

    @property
    def nodes(self) -> RealNodes:
        """The machines."""
        assert self.cluster.site is not None
        return self.cluster.site

    def version(self, minor: str) -> str:
        """Return the version of Cilium that was built of a minor version."""
        return self.nodes.programs[minor].version

    def agent_status(self, node: str, minor: str = "1.18") -> dict[str, Any]:
        """Return what the agent of a node reports of itself."""
        program = self.nodes.programs[minor].folder / "cilium-dbg"
        answer: dict[str, Any] = json.loads(self.nodes.machines[node].run(str(program), "status", "--output", "json"))
        return answer

    def pods(self) -> list[dict[str, Any]]:
        """Return the pods of the agents."""
        return self.cluster.objects("pods", "kube-system", selector="k8s-app=cilium")

    def start_pod(self, name: str, node: str, *words: str, labels: dict[str, str] | None = None) -> str:
        """Start a pod that runs a command of this computer, and return its address."""
        container = {
            "name": "main",
            "image": "registry.example/none",
            "command": list(words),
            "env": [{"name": "PYTHONPATH", "value": str(TESTS)}],
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name, **(labels or {})}},
            "spec": {
                "containers": [container],
                "nodeSelector": {"kubernetes.io/hostname": node},
                "terminationGracePeriodSeconds": 1,
            },
        }
        self.cluster.request("POST", "/api/v1/namespaces/default/pods", pod)
        path = f"/api/v1/namespaces/default/pods/{name}"
        wait_until(
            lambda: is_ready(self.cluster.request("GET", path)), timeout=START_LIMIT, what=f"pod {name} is ready"
        )
        address: str = self.cluster.request("GET", path)["status"]["podIP"]
        return address

    def start_flow(self, name: str, source: str, target: str, *, rate: float = 50.0) -> Flow:
        """Send packets from a pod of one node to a pod of another, or of the same."""
        address = self.start_pod(f"{name}-server", target, sys.executable, "-m", "testbed.site.traffic", "serve")
        # Each machine has the folder of the cluster as /site.
        file = self.cluster.folder / f"traffic-{name}.json"
        words = [sys.executable, "-m", "testbed.site.traffic", "send", address, f"/site/{file.name}"]
        words += ["--rate", str(rate)]
        self.start_pod(f"{name}-client", source, *words)
        flow = Flow(name, file)
        wait_until(
            lambda: file.exists() and flow.report().sent > rate, timeout=START_LIMIT, what=f"{name} sends packets"
        )
        return flow


@contextmanager
def start_real_site(folder: Path, minors: Sequence[str], *, real: int = 2, hybrid: int = 0) -> Iterator[RealSite]:
    """Yield a cluster of real nodes, the charts of these minor versions and an operator that runs."""
    charts = [programs.ensure(minor).chart for minor in minors]
    with (
        Registry.start(folder / "registry") as registry,
        Cluster.start(folder / "cluster", hybrid=hybrid, cloud=2, real=real, minors=minors) as cluster,
    ):
        for chart in charts:
            registry.push(chart)
        install(cluster)
        env = {"SSL_CERT_FILE": str(registry.ca_file), **PLAIN_LOG}
        site = RealSite(cluster, registry, operator(cluster, env=env))
        site.operator.start()
        try:
            yield site
        finally:
            site.operator.stop()
