"""The real nodes of a cluster: a machine and a kubelet for each, and the network between them."""

import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed import binaries, nodes
from testbed.api import Api
from testbed.pki import Pki
from testbed.processes import Process
from testbed.site.machines import ROUTER_ADDRESS, Machine, Router, pid
from testbed.site.programs import Programs, ensure

TESTS = Path(__file__).parents[2]
SERVICE_ENDPOINTS = "/api/v1/namespaces/default/endpoints"
SERVICE_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


class RealNodes:
    """The machines of a cluster by node name, with their kubelets."""

    def __init__(self, folder: Path, port: int, minors: Sequence[str], *, detached: bool) -> None:
        """The API server's port is the same in the site."""
        self.machines: dict[str, Machine] = {}
        self.programs: Mapping[str, Programs] = {minor: ensure(minor) for minor in minors}
        self.kubelets: dict[str, Process] = {}
        self._folder = folder
        self._port = port
        self._detached = detached
        self._router = Router(folder, detached=detached)
        self._forwarder: Process | None = None

    def start(self, pki: Pki, api: Api) -> None:
        """Start the network of the site."""
        self._router.start()
        argv = [sys.executable, "-m", "testbed.site.forwarder", "--address", ROUTER_ADDRESS, "--port", str(self._port)]
        argv += ["--network-of", str(pid(self._router.process))]
        env = {"PYTHONPATH": str(TESTS)}
        self._forwarder = Process("forwarder", argv, self._folder, env, detached=self._detached).start()
        server, token = f"https://{ROUTER_ADDRESS}:{self._port}", pki.token("kubelets")
        pki.write_kubeconfig(self._folder / "kubeconfig-machines", server=server, token=token)
        _serve_api_server(api, self._port)

    @property
    def processes(self) -> list[Process]:
        """The processes of the site, the network first."""
        machines = [machine.process for machine in self.machines.values()]
        network = [self._router.process, *([self._forwarder] if self._forwarder else [])]
        return [*network, *machines, *self.kubelets.values()]

    def add(self, name: str, address: str) -> None:
        """Boot a machine and start its kubelet; its Node has to exist before the kubelet does something."""
        machine = Machine(name, address, self._folder, self._router, detached=self._detached)
        self.machines[name] = machine
        # They may be on another file system than the root of this computer.
        needed = [binaries.cache(), TESTS, Path(sys.prefix), Path(sys.base_prefix)]
        machine.start(needed, self._port)
        argv = [*machine.enter(), sys.executable, "-m", "testbed.site.kubelet", "--node", name]
        argv += ["--kubeconfig", str(self._folder / "kubeconfig-machines"), "--folder", f"/site/{name}"]
        argv += ["--programs", *(f"{minor}={found.folder}" for minor, found in self.programs.items())]
        env = {"PYTHONPATH": str(TESTS)}
        self.kubelets[name] = Process(f"kubelet-{name}", argv, self._folder, env, detached=self._detached).start()


def real_node(number: int) -> dict[str, object]:
    """Return the Node of the n-th machine."""
    address = nodes.hybrid_address(number)
    kernel = platform.release()
    return nodes.node(nodes.hybrid_name(number), hybrid=True, address=address, kernel=kernel, kubelet=nodes.REAL)


def _serve_api_server(api: Api, port: int) -> None:
    """Make Service `kubernetes` point to the forwarder: the API server does not manage its own endpoints here."""
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    endpoints = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ROUTER_ADDRESS}], "ports": ports}],
    }
    endpoint_slice = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ROUTER_ADDRESS], "conditions": {"ready": True}}],
        "ports": ports,
    }
    api.request("POST", SERVICE_ENDPOINTS, endpoints)
    api.request("POST", SERVICE_SLICES, endpoint_slice)
