"""`make demo` and `make demo-down`: a local cluster on which the operator installs Cilium before your eyes."""

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
from testbed.processes import NotInTime, Process, end_recorded, record, recorded
from testbed.registry import Registry

FOLDER = ROOT / ".demo"
SAMPLE = ROOT / "deploy" / "samples" / "minimal.yaml"
LIMIT = 180.0
HYBRID, CLOUD = 5, 2


def up(chart: str, version: str) -> None:
    """Start the cluster and the operator, apply the sample, show the nodes turn Ready, and leave all of it up."""
    down()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    sample = yaml.safe_load(SAMPLE.read_text())
    env: dict[str, str] = {}
    if chart:
        sample["spec"] |= {"chart": {"ref": _reference(chart, version)}}
        sample["spec"]["version"] = version or _version(chart) or sample["spec"]["version"]
        if "SSL_CERT_FILE" in os.environ:
            env["SSL_CERT_FILE"] = os.environ["SSL_CERT_FILE"]
    else:
        sample["spec"]["version"] = version or sample["spec"]["version"]
        _say("starting a registry with every version of the stand-in chart")
        registry = Registry.start(FOLDER / "registry", detached=True)
        charts = FOLDER / "charts"
        charts.mkdir()
        for archive in package_all(charts):
            registry.push(archive)
        sample["spec"] |= {"chart": {"ref": registry.ref}}
        env["SSL_CERT_FILE"] = str(registry.ca_file)
    _say(f"starting a cluster of {HYBRID} hybrid and {CLOUD} cloud nodes")
    cluster = Cluster.start(FOLDER / "cluster", hybrid=HYBRID, cloud=CLOUD, detached=True)
    print(cluster.kubectl("get", "nodes", "-L", "eks.amazonaws.com/compute-type"))
    _say("kubectl apply -k deploy/, and the operator runs as its ServiceAccount")
    install(cluster)
    process = operator(cluster, env=env, detached=True).start()
    record(cluster.folder, [*cluster.processes.values(), process])
    _say(f"kubectl apply -f {SAMPLE.relative_to(ROOT)}, with chart {sample['spec']['chart']['ref']}")
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(sample))
    _watch(cluster, process)
    _show(cluster)


def down() -> None:
    """End every process of the demo, by its id; nothing happens where none is up."""
    for place in ("cluster", "registry"):
        if recorded(FOLDER / place):
            names = end_recorded(FOLDER / place)
            _say(f"ended the former demo's {', '.join(names) or place}")


def _watch(cluster: Cluster, process: Process) -> None:
    """Print each change of the status until it is Ready."""
    deadline, shown = time.monotonic() + LIMIT, ""
    while time.monotonic() < deadline:
        if not process.alive:
            raise NotInTime(f"the operator ended\n{process.tail()}")
        status: dict[str, Any] = cluster.get("ciliumhybrid", "default").get("status", {})
        ready = next((one for one in status.get("conditions", []) if one["type"] == "Ready"), None)
        if ready is not None:
            line = f"  {status['nodes']['summary']} Ready={ready['status']} {ready['reason']}: {ready['message']}"
            if line != shown:
                print(line, flush=True)
                shown = line
            if ready["status"] == "True":
                return
        time.sleep(0.2)
    raise NotInTime(f"not Ready within {LIMIT:g} s\n{process.tail()}")


def _show(cluster: Cluster) -> None:
    print("\n" + cluster.kubectl("get", "nodes", "-L", "eks.amazonaws.com/compute-type"))
    print(cluster.kubectl("get", "pods", "-n", "kube-system", "-o", "wide", "-l", "app.kubernetes.io/part-of=cilium"))
    print(cluster.kubectl("get", "ciliumhybrid"))
    kubectl = shutil.which("kubectl") or binaries.ensure("kubectl")["kubectl"]
    print(f"The cluster stays up. To reach it:\n\n  export KUBECONFIG={cluster.kubeconfig}")
    print(f"  {kubectl} get ciliumhybrid default -o yaml\n\nThe operator's log: {cluster.folder / 'operator.log'}")
    print("`make demo-down` ends it.")


def _reference(chart: str, version: str) -> str:
    """An OCI reference as it is; a path made absolute; of a folder of archives the one of this version."""
    if chart.startswith("oci://"):
        return chart
    path = Path(chart).expanduser().resolve()
    archive = path / f"cilium-{version}.tgz"
    return str(archive if archive.is_file() else path)


def _version(chart: str) -> str | None:
    """The version of a chart on disk, where its place tells."""
    path = Path(chart).expanduser()
    if (path / "Chart.yaml").is_file():
        return str(yaml.safe_load((path / "Chart.yaml").read_text())["version"])
    return path.name.removeprefix("cilium-").removesuffix(".tgz") if path.suffix == ".tgz" else None


def _say(what: str) -> None:
    print(f"==> {what}", flush=True)


if __name__ == "__main__":
    try:
        down() if sys.argv[1:] == ["down"] else up(os.environ.get("CHART", ""), os.environ.get("VERSION", ""))
    except NotInTime as late:
        sys.exit(f"demo: {late}")
