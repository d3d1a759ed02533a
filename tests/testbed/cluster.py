"""A Kubernetes cluster of real processes on this machine, with simulated kubelets and a stand-in for Cilium."""

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import yaml

from testbed import binaries, control_plane, nodes
from testbed.api import MERGE_PATCH, STRATEGIC_PATCH, Api
from testbed.pki import USERS, Pki
from testbed.processes import Process, end_recorded, record, recorded, run, wait_until
from testbed.site.real_nodes import RealNodes, real_node

START_LIMIT = 60.0
MAX_NESTING = 50_000
TOKEN_DURATION = "24h"
PODS = "/api/v1/namespaces/kube-system/pods"
DAEMON_SETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
AgentFault = Literal["crash", "never-ready", "pull"]


class Cluster:
    """A cluster, created with `start` or `attach`; `stop` or leaving its context ends it."""

    def __init__(self, folder: Path, port: int, processes: Sequence[Process]) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.processes = {process.name: process for process in processes}
        self.killed_api_server_at: list[str] = []
        """Times as in the audit log."""
        self.site: RealNodes | None = None
        self._port = port
        self._pki = Pki(folder / "pki")
        self._api = Api(port, self._pki.ca, self._pki.token("admin"))
        self._tools = binaries.ensure("kubectl", "helm")
        self._accounts = itertools.count()

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        hybrid: int = 5,
        cloud: int = 2,
        cilium: bool = True,
        eks: bool = True,
        detached: bool = False,
        real: int = 0,
        minors: Sequence[str] = (),
    ) -> Self:
        """Start a cluster and wait until it works; a detached one outlives this process.

        `cilium` starts the stand-in for Cilium, `eks` creates the DaemonSets of EKS, which take minutes on thousands
        of nodes. With `real` nodes, which need root and come first, Cilium itself runs on them, in the given minor
        versions, and the stand-in only on the simulated ones.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        stores, port = control_plane.start_stores(folder, Pki(folder / "pki"), detached=detached)
        cluster = cls(folder, port, stores)
        try:
            cluster._start_controllers(cilium=cilium, beside_cilium=bool(real), detached=detached)
            cluster._add_nodes(range(real + 1, real + hybrid + 1), cloud, operator_free=bool(real))
            if real:
                cluster._add_real_nodes(real, minors, detached=detached)
            if eks:
                cluster._add_eks(hybrid + real, cloud)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """Return the cluster that was started detached in this directory."""
        config = yaml.safe_load((folder / "kubeconfig").read_text())
        server = config["clusters"][0]["cluster"]["server"]
        return cls(folder.resolve(), int(server.rpartition(":")[2]), list(recorded(folder.resolve()).values()))

    def stop(self) -> None:
        """End every process of the cluster."""
        self._api.close()
        # SIGKILL is enough, because the data is discarded with the directory.
        for process in reversed(self.processes.values()):
            process.kill()
        end_recorded(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment with which kubectl and helm use this cluster, and directories of their own."""
        homes = {f"HELM_{kind}_HOME": str(self.folder / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return homes | {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.folder / "kubectl")}

    def kubectl(self, *args: str | Path, stdin: str | None = None) -> str:
        """Run kubectl as the admin and return its output; raise `CommandError` with its stderr."""
        return run([self._tools["kubectl"], *args], env=self.env, stdin=stdin)

    def kubectl_json(self, *args: str | Path) -> Any:
        """Run kubectl with `-o json` and return the parsed output."""
        return json.loads(self.kubectl(*args, "-o", "json"))

    def helm(self, *args: str | Path, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run helm as the admin and return its output; raise `CommandError` with its stderr."""
        return run([self._tools["helm"], *args], env=self.env | dict(env or {}), stdin=stdin)

    def apply(self, manifests: str) -> None:
        """Apply YAML as `kubectl apply --server-side` does."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Any:
        """Return an object by the name that kubectl has for its kind, None if it does not exist."""
        scope = ("-n", namespace) if namespace else ()
        text = self.kubectl("get", kind, name, *scope, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def objects(self, kind: str, namespace: str | None = None, *, selector: str = "") -> list[Any]:
        """Return the objects of a kind, from all namespaces unless one is given."""
        scope = ("-n", namespace) if namespace else ("-A",)
        items: list[Any] = self.kubectl_json("get", kind, *scope, "-l", selector)["items"]
        return items

    def request(self, verb: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """Send a request as the admin, which is faster than kubectl; raise `ApiError` if it is rejected."""
        return self._api.request(verb, path, body, kind=kind)

    def ready_nodes(self) -> int:
        """Return the number of Ready nodes."""
        items = self._api.request("GET", "/api/v1/nodes")["items"]
        return sum(nodes.is_ready(node) for node in items)

    def kubeconfig_for(self, namespace: str, account: str) -> Path:
        """Return a kubeconfig that acts as this ServiceAccount, which must exist."""
        token = self.kubectl("create", "token", account, "-n", namespace, f"--duration={TOKEN_DURATION}").strip()
        path = self.folder / f"kubeconfig-{namespace}-{account}-{next(self._accounts)}"
        return self._pki.write_kubeconfig(path, server=self.server, token=token)

    def audit_events(self) -> Iterator[dict[str, Any]]:
        """Yield the events in the audit log: user, verb and object; content only for statuses of a CiliumHybrid."""
        # A logged status comes with its spec, which may be nested as deeply as the API server accepts.
        sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_NESTING))
        with (self.folder / "audit.jsonl").open() as log:
            # The last line may be incomplete.
            yield from (json.loads(line) for line in log if line.endswith("\n"))

    def add_node(
        self,
        name: str,
        *,
        hybrid: bool = True,
        zone: str | None = None,
        kernel: str = "6.8.0",
        address: str | None = None,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Register a node as its kubelet would; without an address, it gets the next free one."""
        if address is None:
            used = {entry["address"] for node in self.objects("nodes") for entry in node["status"]["addresses"]}
            address_of = nodes.hybrid_address if hybrid else nodes.cloud_address
            address = next(free for number in itertools.count(1) if (free := address_of(number)) not in used)
        self._register(
            nodes.node(name, hybrid=hybrid, address=address, zone=zone, kernel=kernel, labels=labels, taints=taints)
        )
        if hybrid and self.site is not None:
            self._api.request("POST", PODS, nodes.pod_that_repels_cilium_operator(name))

    def remove_node(self, name: str) -> None:
        """Delete a node and its pods; Kubernetes would delete the pods a minute later."""
        self._api.request("DELETE", f"/api/v1/nodes/{name}")
        for path in self._pods_on(name):
            self._api.delete(path, {"gracePeriodSeconds": 0})

    def break_agent(self, node: str, how: AgentFault) -> None:
        """Make the current and every later agent pod on this node fail in this way."""
        self._patch_metadata(node, annotations={nodes.AGENT_FAULT: how})

    def repair_agent(self, node: str) -> None:
        """Undo `break_agent`."""
        self._patch_metadata(node, annotations={nodes.AGENT_FAULT: None})

    def lose_cni(self, node: str) -> None:
        """Remove the CNI configuration from a node, as a cleanup tool would; the node becomes NotReady."""
        self._patch_metadata(node, annotations={nodes.CNI: None})

    def disconnect(self, node: str) -> None:
        """Disconnect a node: it becomes Unknown and its pods not Ready, and nothing changes on it until `reconnect`."""
        if self.site is not None and node in self.site.machines:
            self.site.machines[node].cut_off()
        else:
            self._patch_metadata(node, labels={nodes.KUBELET: None})
        # What the node-lifecycle controller does after its grace period.
        unknown = {"status": {"conditions": nodes.unknown_conditions()}}
        self._api.request("PATCH", f"/api/v1/nodes/{node}/status", unknown, kind=STRATEGIC_PATCH)
        unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        for path in self._pods_on(node):
            self._api.request("PATCH", f"{path}/status", unready, kind=STRATEGIC_PATCH)

    def reconnect(self, node: str) -> None:
        """Undo `disconnect`: the kubelet applies the changes that were made meanwhile."""
        if self.site is not None and node in self.site.machines:
            self.site.machines[node].plug_in()
        else:
            self._patch_metadata(node, labels={nodes.KUBELET: nodes.CONNECTED})

    def reboot(self, node: str) -> None:
        """Reboot a node: it has another boot ID, and the containers of its pods were restarted (exit code 255)."""
        booted = {"status": {"nodeInfo": {"bootID": nodes.new_boot_id()}}}
        self._api.request("PATCH", f"/api/v1/nodes/{node}/status", booted, kind=MERGE_PATCH)
        for path in self._pods_on(node):
            restarted = {"status": nodes.after_reboot(self._api.request("GET", path))}
            self._api.request("PATCH", f"{path}/status", restarted, kind=MERGE_PATCH)

    def pause_api_server(self) -> None:
        """Freeze the API server: connections stay open, requests hang."""
        self.processes["kube-apiserver"].pause()

    def resume_api_server(self) -> None:
        """Undo `pause_api_server`."""
        self.processes["kube-apiserver"].resume()

    def stop_api_server(self) -> None:
        """Kill the API server: connections are refused. The audit log may lack its last requests."""
        self.processes["kube-apiserver"].kill()
        self.killed_api_server_at.append(datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"))

    def start_api_server(self) -> None:
        """Restart the API server on its previous port, and wait until it is ready."""
        server = self.processes["kube-apiserver"].start()
        if server.detached:
            record(self.folder, list(self.processes.values()))
        wait_until(
            lambda: self._api.get("/readyz") == "ok",
            timeout=START_LIMIT,
            what="the API server is ready again",
            needs=[server],
        )

    def _start_controllers(self, *, cilium: bool, beside_cilium: bool, detached: bool) -> None:
        """Start everything except etcd and the API server."""
        for client in USERS:
            path = self.kubeconfig if client == "admin" else self.folder / f"kubeconfig-{client}"
            self._pki.write_kubeconfig(path, server=self.server, token=self._pki.token(client))
        processes = control_plane.controllers(self.folder, self._pki, detached=detached)
        if cilium:
            processes.append(control_plane.cilium(self.folder, beside_cilium=beside_cilium, detached=detached))
        self.processes |= {process.name: process.start() for process in processes}
        if detached:
            record(self.folder, list(self.processes.values()))

    def _add_nodes(self, hybrid: Sequence[int], cloud: int, *, operator_free: bool) -> None:
        """Register the nodes, and wait until kwok renews their leases and ServiceAccounts exist.

        `operator_free`: no hybrid node of them may run Cilium's operator, which is a real process.
        """
        initial = [nodes.node(nodes.hybrid_name(n), hybrid=True, address=nodes.hybrid_address(n)) for n in hybrid]
        initial += [
            nodes.node(nodes.cloud_name(n), hybrid=False, address=nodes.cloud_address(n)) for n in range(1, cloud + 1)
        ]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(self._register, initial))
        self._wait_until_all(
            lambda: (
                self._api.get("/api/v1/namespaces/kube-system/serviceaccounts/default")
                and len(self._api.request("GET", LEASES)["items"]) == len(initial)
            ),
            "every node has a lease",
            len(initial),
        )
        for number in hybrid if operator_free else ():
            self._api.request("POST", PODS, nodes.pod_that_repels_cilium_operator(nodes.hybrid_name(number)))

    def _add_real_nodes(self, count: int, minors: Sequence[str], *, detached: bool) -> None:
        """Boot machines and register their nodes."""
        self.site = RealNodes(self.folder, self._port, minors, detached=detached)
        try:
            self.site.start(self._pki, self._api)
            for number in range(1, count + 1):
                self._register(real_node(number))
                self.site.add(nodes.hybrid_name(number), nodes.hybrid_address(number))
        finally:
            # Those that have started end with the cluster, also after an error.
            self.processes |= {process.name: process for process in self.site.processes}
        if detached:
            record(self.folder, list(self.processes.values()))

    def _add_eks(self, hybrid: int, cloud: int) -> None:
        """Create the DaemonSets of EKS and wait until their pods run, which needs every component of the cluster."""
        for manifest in yaml.safe_load_all((control_plane.HERE / "eks.yaml").read_text()):
            self._api.request("POST", DAEMON_SETS, manifest)
        self._wait_until_all(
            lambda: self._running("aws-node") == cloud and self._running("kube-proxy") == hybrid + cloud,
            "the EKS pods run",
            hybrid + cloud,
        )

    def _wait_until_all(self, condition: Callable[[], object], what: str, count: int) -> None:
        needs = list(self.processes.values())
        wait_until(condition, timeout=START_LIMIT + count / 10, what=what, needs=needs)

    def _running(self, daemon_set: str) -> int:
        status = self._api.request("GET", f"{DAEMON_SETS}/{daemon_set}/status")
        ready: int = status["status"].get("numberReady", 0)
        return ready

    def _pods_on(self, node: str) -> Sequence[str]:
        """Return the API paths of a node's pods."""
        pods = self._api.request("GET", f"/api/v1/pods?fieldSelector=spec.nodeName={node}")["items"]
        names = [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods]
        return [f"/api/v1/namespaces/{namespace}/pods/{name}" for namespace, name in names]

    def _register(self, node: dict[str, Any]) -> None:
        self._api.request("POST", "/api/v1/nodes", node)

    def _patch_metadata(self, node: str, **metadata: Mapping[str, str | None]) -> None:
        """Set labels and annotations of a node; None removes one."""
        self._api.request("PATCH", f"/api/v1/nodes/{node}", {"metadata": metadata}, kind=MERGE_PATCH)
