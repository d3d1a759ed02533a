"""The operator as a local process: installed from deploy/ and running as its ServiceAccount."""

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
    """Apply deploy/ as described in the README, and wait until the CRD is established."""
    cluster.kubectl("apply", "-k", ROOT / "deploy")
    wait_for_crd(cluster)


def wait_for_crd(cluster: Cluster) -> None:
    """Wait until the CRD is established. `kubectl wait` would fail on a new CRD without conditions."""

    def established() -> bool:
        conditions = cluster.get("crd", "ciliumhybrids.ciliumhybrid.io").get("status", {}).get("conditions") or []
        return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)

    wait_until(established, timeout=30, what="the CRD of CiliumHybrid is established")


def operator(
    cluster: Cluster, *, name: str = "operator", env: Mapping[str, str] | None = None, detached: bool = False
) -> Process:
    """Return the process of the operator, not started yet, with a token of its ServiceAccount and its own cache."""
    settings = {
        "KUBECONFIG": str(cluster.kubeconfig_for(NAMESPACE, ACCOUNT)),
        "CILIUM_HYBRID_METRICS_ADDR": f"127.0.0.1:{free_port()}",
        # The Lease identity: a restarted process with the same name acquires its Lease immediately.
        "POD_NAME": name,
        "CILIUM_HYBRID_HELM": str(binaries.ensure("helm")["helm"]),
        "CILIUM_HYBRID_CACHE_DIR": str(cluster.folder / name),
        # A value from the machine's environment would change which certificates the operator trusts.
        "SSL_CERT_DIR": str(cluster.folder),
    }
    command = [str(Path(sys.executable).with_name("cilium-hybrid")), "run"]
    return Process(name, command, cluster.folder, settings | dict(env or {}), detached=detached)
