"""The operator as a process beside a cluster: installed from deploy/, run as its own ServiceAccount."""

import sys
from collections.abc import Mapping
from pathlib import Path

from testbed import binaries
from testbed.cluster import Cluster
from testbed.processes import Process, free_port, wait_until

ROOT = Path(__file__).parents[2]
NAMESPACE = "cilium-hybrid-system"
ACCOUNT = "cilium-hybrid-operator"


def install(cluster: Cluster) -> None:
    """Apply deploy/ as the README says, and wait until the resource is served."""
    cluster.kubectl("apply", "-k", ROOT / "deploy")
    wait_for_the_definition(cluster)


def wait_for_the_definition(cluster: Cluster) -> None:
    """Wait until the resource is served. `kubectl wait` fails on a definition so new that it has no conditions."""

    def established() -> bool:
        conditions = cluster.get("crd", "ciliumhybrids.ciliumhybrid.io").get("status", {}).get("conditions") or []
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    wait_until(established, timeout=30, what="the definition of CiliumHybrid is served")


def operator(
    cluster: Cluster, *, name: str = "operator", env: Mapping[str, str] | None = None, detached: bool = False
) -> Process:
    """Return the operator, not started yet, with a token of its ServiceAccount and a cache of its own."""
    settings = {
        "KUBECONFIG": str(cluster.kubeconfig_for(NAMESPACE, ACCOUNT)),
        "CILIUM_HYBRID_METRICS_ADDR": f"127.0.0.1:{free_port()}",
        # As the pod's name: the same one takes its Lease again at once.
        "POD_NAME": name,
        "CILIUM_HYBRID_HELM": str(binaries.ensure("helm")["helm"]),
        "CILIUM_HYBRID_CACHE_DIR": str(cluster.folder / name),
        # Anything the machine has set for other programs would make a test mean something else here.
        "SSL_CERT_DIR": str(cluster.folder),
    }
    command = [str(Path(sys.executable).with_name("cilium-hybrid")), "run"]
    return Process(name, command, cluster.folder, settings | dict(env or {}), detached=detached)
