"""A Kubernetes cluster of real processes on this machine, with simulated kubelets and Cilium's stand-in."""

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import yaml

from testbed import binaries, control_plane, nodes
from testbed.api import MERGE_PATCH, STRATEGIC_PATCH, Api
from testbed.pki import USERS, Pki
from testbed.processes import Process, end_recorded, record, recorded, run, wait_until

START_LIMIT = 60.0
DEEPEST = 50_000
TOKEN_DURATION = "24h"
DAEMON_SETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
AgentFault = Literal["crash", "never-ready", "pull"]


class Cluster:
    """One cluster; made by `start` or `attach`, ended by `stop` or by leaving its context."""

    def __init__(self, folder: Path, port: int, processes: Sequence[Process]) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.processes = {process.name: process for process in processes}
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
    ) -> Self:
        """Start a cluster and wait until it works; detached, it outlives this process.

        `cilium` is the stand-in for Cilium's processes, `eks` are the DaemonSets of EKS, which cost time on
        thousands of nodes.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        stores, port = control_plane.start_stores(folder, Pki(folder / "pki"), detached=detached)
        cluster = cls(folder, port, stores)
        try:
            cluster._start_actors(cilium=cilium, detached=detached)
            cluster._add_nodes(hybrid, cloud)
            if eks:
                cluster._add_eks(hybrid, cloud)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """Return the cluster that was started detached in this folder."""
        config = yaml.safe_load((folder / "kubeconfig").read_text())
        server = config["clusters"][0]["cluster"]["server"]
        return cls(folder.resolve(), int(server.rpartition(":")[2]), list(recorded(folder.resolve()).values()))

    def stop(self) -> None:
        """End every process of the cluster."""
        self._api.close()
        # The data is thrown away with the folder: nobody has to be asked to save anything.
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
        """The API server's URL."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def env(self) -> dict[str, str]:
        """What kubectl and helm need in their environment to act on this cluster, and only here."""
        homes = {f"HELM_{kind}_HOME": str(self.folder / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return homes | {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.folder / "kubectl")}

    def kubectl(self, *args: str | Path, stdin: str | None = None) -> str:
        """Run kubectl as the admin and return what it printed; raise `CommandError` with its stderr."""
        return run([self._tools["kubectl"], *args], env=self.env, stdin=stdin)

    def kubectl_json(self, *args: str | Path) -> Any:
        """Run kubectl with `-o json` and return the parsed answer."""
        return json.loads(self.kubectl(*args, "-o", "json"))

    def helm(self, *args: str | Path, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run helm as the admin and return what it printed; raise `CommandError` with its stderr."""
        return run([self._tools["helm"], *args], env=self.env | dict(env or {}), stdin=stdin)

    def apply(self, manifests: str) -> None:
        """Apply YAML as `kubectl apply --server-side` does."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Any:
        """Return an object by kubectl's name of its kind, or None where there is none."""
        place = ("-n", namespace) if namespace else ()
        text = self.kubectl("get", kind, name, *place, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def objects(self, kind: str, namespace: str | None = None, *, selector: str = "") -> list[Any]:
        """Return the objects of a kind, of all namespaces unless one is named."""
        place = ("-n", namespace) if namespace else ("-A",)
        items: list[Any] = self.kubectl_json("get", kind, *place, "-l", selector)["items"]
        return items

    def request(self, verb: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """Send one request as the admin, which is faster than kubectl; raise `ApiError` when refused."""
        return self._api.request(verb, path, body, kind=kind)

    def ready_nodes(self) -> int:
        """Return how many nodes are Ready."""
        items = self._api.request("GET", "/api/v1/nodes")["items"]
        return sum(nodes.is_ready(node) for node in items)

    def kubeconfig_for(self, namespace: str, account: str) -> Path:
        """Return a kubeconfig that acts as this ServiceAccount, which must exist."""
        token = self.kubectl("create", "token", account, "-n", namespace, f"--duration={TOKEN_DURATION}").strip()
        path = self.folder / f"kubeconfig-{namespace}-{account}-{next(self._accounts)}"
        return self._pki.write_kubeconfig(path, server=self.server, token=token)

    def audit_events(self) -> Iterator[dict[str, Any]]:
        """Yield the audit log's events up to now: who did which verb to what; no content but statuses."""
        # A status stands there with its spec, which may be nested as deeply as the API server takes.
        sys.setrecursionlimit(max(sys.getrecursionlimit(), DEEPEST))
        with (self.folder / "audit.jsonl").open() as log:
            # The last line may still be in the writing.
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
        """Register a node, as its kubelet would; without an address it takes one that no node has."""
        if address is None:
            used = {entry["address"] for node in self.objects("nodes") for entry in node["status"]["addresses"]}
            make = nodes.hybrid_address if hybrid else nodes.cloud_address
            address = next(free for number in itertools.count(1) if (free := make(number)) not in used)
        self._register(
            nodes.node(name, hybrid=hybrid, address=address, zone=zone, kernel=kernel, labels=labels, taints=taints)
        )

    def remove_node(self, name: str) -> None:
        """Delete a node, and with it its pods, which Kubernetes would do a minute later."""
        self._api.request("DELETE", f"/api/v1/nodes/{name}")
        for path in self._pods_on(name):
            self._api.request("DELETE", path, {"gracePeriodSeconds": 0})

    def break_agent(self, node: str, how: AgentFault) -> None:
        """Let the agent of this node, present and future, fail in one way."""
        self._mark(node, annotations={nodes.AGENT_FAULT: how})

    def mend_agent(self, node: str) -> None:
        """Undo `break_agent`."""
        self._mark(node, annotations={nodes.AGENT_FAULT: None})

    def lose_cni(self, node: str) -> None:
        """Take the container network's files from a node, which makes it NotReady, as a cleaner would."""
        self._mark(node, annotations={nodes.CNI: None})

    def disconnect(self, node: str) -> None:
        """Cut a node off: it turns Unknown and stays so, its pods unready, and nothing more happens on it."""
        self._mark(node, labels={nodes.KUBELET: None})
        # What the node-lifecycle controller does after its grace period.
        silent = {"status": {"conditions": nodes.unknown_conditions()}}
        self._api.request("PATCH", f"/api/v1/nodes/{node}/status", silent, kind=STRATEGIC_PATCH)
        unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        for path in self._pods_on(node):
            self._api.request("PATCH", f"{path}/status", unready, kind=STRATEGIC_PATCH)

    def reconnect(self, node: str) -> None:
        """Undo `disconnect`: the kubelet catches up with what happened meanwhile."""
        self._mark(node, labels={nodes.KUBELET: nodes.CONNECTED})

    def pause_api_server(self) -> None:
        """Freeze the API server: connections stay open, nothing is answered."""
        self.processes["kube-apiserver"].pause()

    def resume_api_server(self) -> None:
        """Undo `pause_api_server`."""
        self.processes["kube-apiserver"].resume()

    def stop_api_server(self) -> None:
        """End the API server as a crash would: connections are refused."""
        self.processes["kube-apiserver"].kill()

    def start_api_server(self) -> None:
        """Start the API server again on its old port, and wait until it is ready."""
        server = self.processes["kube-apiserver"].start()
        if server.detached:
            record(self.folder, list(self.processes.values()))
        wait_until(
            lambda: self._api.get("/readyz") == "ok",
            timeout=START_LIMIT,
            what="the API server answers again",
            needs=[server],
        )

    def _start_actors(self, *, cilium: bool, detached: bool) -> None:
        """Start everything that acts in the cluster."""
        for client in USERS:
            path = self.kubeconfig if client == "admin" else self.folder / f"kubeconfig-{client}"
            self._pki.write_kubeconfig(path, server=self.server, token=self._pki.token(client))
        actors = control_plane.controllers(self.folder, self._pki, detached=detached)
        if cilium:
            actors.append(control_plane.cilium(self.folder, detached=detached))
        self.processes |= {process.name: process.start() for process in actors}
        if detached:
            record(self.folder, list(self.processes.values()))

    def _add_nodes(self, hybrid: int, cloud: int) -> None:
        """Register the first nodes, and wait until somebody plays their kubelets and accounts are made."""
        first = [
            nodes.node(nodes.hybrid_name(n), hybrid=True, address=nodes.hybrid_address(n)) for n in range(1, hybrid + 1)
        ]
        first += [
            nodes.node(nodes.cloud_name(n), hybrid=False, address=nodes.cloud_address(n)) for n in range(1, cloud + 1)
        ]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(self._register, first))
        self._wait_until_all(
            lambda: (
                self._api.get("/api/v1/namespaces/kube-system/serviceaccounts/default")
                and len(self._api.request("GET", LEASES)["items"]) == len(first)
            ),
            "every node has a lease",
            len(first),
        )

    def _add_eks(self, hybrid: int, cloud: int) -> None:
        """Make what EKS has in its clusters, and wait until the pods run: that takes every part of a cluster."""
        for manifest in yaml.safe_load_all((control_plane.HERE / "eks.yaml").read_text()):
            self._api.request("POST", DAEMON_SETS, manifest)
        self._wait_until_all(
            lambda: self._running("aws-node") == cloud and self._running("kube-proxy") == hybrid + cloud,
            "the pods of EKS run",
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
        """Return the paths of a node's pods."""
        pods = self._api.request("GET", f"/api/v1/pods?fieldSelector=spec.nodeName={node}")["items"]
        places = [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods]
        return [f"/api/v1/namespaces/{namespace}/pods/{name}" for namespace, name in places]

    def _register(self, node: dict[str, Any]) -> None:
        self._api.request("POST", "/api/v1/nodes", node)

    def _mark(self, node: str, **metadata: Mapping[str, str | None]) -> None:
        """Set labels and annotations of a node; None takes one away."""
        self._api.request("PATCH", f"/api/v1/nodes/{node}", {"metadata": metadata}, kind=MERGE_PATCH)
