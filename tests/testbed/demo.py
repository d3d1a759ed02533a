"""`make demo` and `make demo-down`: a local cluster on which the operator installs Cilium."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from chart.package import package_all
from testbed import binaries
from testbed.cluster import Cluster
from testbed.operator import ROOT, install, operator
from testbed.processes import Process, WaitError, end_recorded, record, recorded
from testbed.registry import Registry

DIRECTORY = ROOT / ".demo"
SAMPLE = ROOT / "deploy" / "samples" / "minimal.yaml"
LIMIT = 180.0
HYBRID, CLOUD = 5, 2


def up(chart: str, version: str) -> None:
    """Start a cluster and the operator, apply the sample and print how the nodes become Ready; keep all running."""
    down()
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir()
    sample = yaml.safe_load(SAMPLE.read_text())
    env: dict[str, str] = {}
    if chart:
        sample["spec"] |= {"chart": {"ref": _reference(chart, version)}}
        sample["spec"]["version"] = version or _version(chart) or sample["spec"]["version"]
        if "SSL_CERT_FILE" in os.environ:
            env["SSL_CERT_FILE"] = os.environ["SSL_CERT_FILE"]
    else:
        sample["spec"]["version"] = version or sample["spec"]["version"]
        _print_step("Starting a registry with all versions of the stand-in chart")
        registry = Registry.start(DIRECTORY / "registry", detached=True)
        charts = DIRECTORY / "charts"
        charts.mkdir()
        for archive in package_all(charts):
            registry.push(archive)
        sample["spec"] |= {"chart": {"ref": registry.ref}}
        env["SSL_CERT_FILE"] = str(registry.ca_file)
    _print_step(f"Starting a cluster with {HYBRID} hybrid nodes and {CLOUD} cloud nodes")
    cluster = Cluster.start(DIRECTORY / "cluster", hybrid=HYBRID, cloud=CLOUD, detached=True)
    print(cluster.kubectl("get", "nodes", "-L", "eks.amazonaws.com/compute-type"))
    _print_step("Running kubectl apply -k deploy/, and the operator with its ServiceAccount")
    install(cluster)
    process = operator(cluster, env=env, detached=True).start()
    record(cluster.folder, [*cluster.processes.values(), process])
    _print_step(
        f"Running kubectl apply -f {SAMPLE.relative_to(ROOT)} with spec.chart.ref {sample['spec']['chart']['ref']}"
    )
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(sample))
    _watch(cluster, process)
    _show(cluster)


def down() -> None:
    """Stop every process of the demo by its process ID, if any is running."""
    for part in ("cluster", "registry"):
        if recorded(DIRECTORY / part):
            names = end_recorded(DIRECTORY / part)
            _print_step(f"Stopped the {part} of the demo ({', '.join(names) or 'no process was running'})")


def _watch(cluster: Cluster, process: Process) -> None:
    """Print each change of the status until the resource is Ready."""
    deadline, shown = time.monotonic() + LIMIT, ""
    while time.monotonic() < deadline:
        if not process.alive:
            raise WaitError(f"the operator exited\n{process.tail()}")
        status: dict[str, Any] = cluster.get("ciliumhybrid", "default").get("status", {})
        ready = next((found for found in status.get("conditions", []) if found["type"] == "Ready"), None)
        if ready is not None:
            summary = f"{status['nodes']['summary']} nodes ready"
            line = f"  {summary}  Ready={ready['status']} ({ready['reason']}): {ready['message']}"
            if line != shown:
                print(line, flush=True)
                shown = line
            if ready["status"] == "True":
                return
        time.sleep(0.2)
    raise WaitError(f"timed out after {LIMIT:g} s; the resource is not Ready\n{process.tail()}")


def _show(cluster: Cluster) -> None:
    print("\n" + cluster.kubectl("get", "nodes", "-L", "eks.amazonaws.com/compute-type"))
    print(cluster.kubectl("get", "pods", "-n", "kube-system", "-o", "wide", "-l", "app.kubernetes.io/part-of=cilium"))
    print(cluster.kubectl("get", "ciliumhybrid"))
    kubectl = shutil.which("kubectl") or binaries.ensure("kubectl")["kubectl"]
    print(f"The cluster keeps running. To use it:\n\n  export KUBECONFIG={cluster.kubeconfig}")
    print(f"  {kubectl} get ciliumhybrid default -o yaml\n\nLog of the operator: {cluster.folder / 'operator.log'}")
    print("To stop the demo, run `make demo-down`.")


def _reference(chart: str, version: str) -> str:
    """Return the chart reference: an OCI reference unchanged, else an absolute path.

    In a directory of archives, it is the path of the archive of this version.
    """
    if chart.startswith("oci://"):
        return chart
    path = Path(chart).expanduser().resolve()
    archive = path / f"cilium-{version}.tgz"
    return str(archive if archive.is_file() else path)


def _version(chart: str) -> str | None:
    """Return the version of a chart on disk from its Chart.yaml or file name, None if neither has it."""
    path = Path(chart).expanduser()
    if (path / "Chart.yaml").is_file():
        return str(yaml.safe_load((path / "Chart.yaml").read_text())["version"])
    return path.name.removeprefix("cilium-").removesuffix(".tgz") if path.suffix == ".tgz" else None


def _print_step(text: str) -> None:
    print(f"==> {text}", flush=True)


if __name__ == "__main__":
    try:
        down() if sys.argv[1:] == ["down"] else up(os.environ.get("CHART", ""), os.environ.get("VERSION", ""))
    except WaitError as late:
        sys.exit(f"demo: {late}")
