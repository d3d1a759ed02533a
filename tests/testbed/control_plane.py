"""The processes of a cluster and their flags: the fewest components that behave like a real cluster."""

import sys
import urllib.request
from contextlib import closing
from http import HTTPStatus
from pathlib import Path

from testbed import binaries
from testbed.api import Api
from testbed.pki import Pki
from testbed.processes import Process, start_on_free_port

HERE = Path(__file__).parent
START_LIMIT = 60.0
# Renewed four times as often: the operator waits for it. A kubelet's Lease has 40 seconds.
LEASE_SECONDS = 20
# Longer than any pause in a test or on a busy machine, so that only `disconnect` makes nodes Unknown.
NODE_GRACE = "500s"
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "taint-eviction-controller",
    "validatingadmissionpolicy-status-controller",
)


def start_stores(folder: Path, pki: Pki, *, detached: bool) -> tuple[list[Process], int]:
    """Start etcd and the API server; return both processes and the API server's port when it is ready."""
    tools = binaries.ensure("etcd", "kube-apiserver")
    etcd, etcd_port = start_on_free_port(
        lambda port: Process("etcd", _etcd(tools["etcd"], folder, port), folder, detached=detached),
        _etcd_ready,
        timeout=START_LIMIT,
    )
    try:
        server, port = start_on_free_port(
            lambda port: Process(
                "kube-apiserver",
                _api_server(tools["kube-apiserver"], folder, pki, port, etcd_port),
                folder,
                detached=detached,
            ),
            lambda port: _api_server_ready(port, pki),
            timeout=START_LIMIT,
        )
    except BaseException:
        etcd.kill()
        raise
    return [etcd, server], port


def controllers(folder: Path, pki: Pki, *, detached: bool) -> list[Process]:
    """Return the processes of the controllers, the scheduler and the simulated kubelets, not started yet."""
    tools = binaries.ensure("kube-controller-manager", "kube-scheduler", "kwok")
    manager = [
        tools["kube-controller-manager"],
        f"--kubeconfig={folder}/kubeconfig-controllers",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--root-ca-file={pki.ca}",
        f"--node-monitor-grace-period={NODE_GRACE}",
        "--node-monitor-period=1s",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--concurrent-gc-syncs=5",
    ]
    scheduler = [
        tools["kube-scheduler"],
        f"--kubeconfig={folder}/kubeconfig-scheduler",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
    kubelets = [
        tools["kwok"],
        f"--kubeconfig={folder}/kubeconfig-kubelets",
        f"--config={HERE / 'stages.yaml'}",
        "--manage-nodes-with-label-selector=testbed/kubelet=connected",
        f"--node-lease-duration-seconds={LEASE_SECONDS}",
    ]
    return [
        Process(name, [str(word) for word in argv], folder, detached=detached)
        for name, argv in (
            ("kube-controller-manager", manager),
            ("kube-scheduler", scheduler),
            ("kubelets", kubelets),
        )
    ]


def cilium(folder: Path, *, beside_cilium: bool, detached: bool) -> Process:
    """Return the process of the stand-in for Cilium, not started yet."""
    argv = [sys.executable, "-m", "testbed.cilium", "--kubeconfig", str(folder / "kubeconfig-cilium")]
    argv += ["--beside-cilium"] if beside_cilium else []
    return Process("cilium", argv, folder, {"PYTHONPATH": str(HERE.parent)}, detached=detached)


def _api_server_ready(port: int, pki: Pki) -> bool:
    with closing(Api(port, pki.ca, pki.token("admin"))) as api:
        return bool(api.get("/readyz") == "ok")


def _etcd_ready(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as response:
        return bool(response.status == HTTPStatus.OK)


def _etcd(program: Path, folder: Path, port: int) -> list[str]:
    url = f"http://127.0.0.1:{port}"
    return [
        str(program),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        "--listen-peer-urls=http://127.0.0.1:0",
        # The data of a test cluster need not survive a crash of the machine.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(program: Path, folder: Path, pki: Pki, port: int, etcd_port: int) -> list[str]:
    return [
        str(program),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={pki.certificate}",
        f"--tls-private-key-file={pki.certificate}",
        f"--token-auth-file={pki.tokens}",
        "--authorization-mode=RBAC",
        # A loopback address cannot be an endpoint of Service `kubernetes`, which no simulated pod uses.
        "--endpoint-reconciler-type=none",
        "--advertise-address=10.0.0.1",
        "--service-cluster-ip-range=10.250.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki.account_public}",
        f"--service-account-signing-key-file={pki.account_key}",
        # Cilium agents are privileged.
        "--allow-privileged=true",
        f"--audit-policy-file={HERE / 'audit.yaml'}",
        f"--audit-log-path={folder / 'audit.jsonl'}",
        # Rotation would remove events that a test reads.
        "--audit-log-maxsize=10000",
    ]
