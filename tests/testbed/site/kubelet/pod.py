"""One pod: its network, its volumes and its containers, from the scheduling to the deletion."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

from testbed.cilium.kube import STRATEGIC_PATCH, TRANSIENT_ERRORS, KubeClient, RequestError
from testbed.cilium.status import contains
from testbed.nodes import internal_address
from testbed.site.kubelet.container import Container
from testbed.site.kubelet.events import Events
from testbed.site.kubelet.images import Images
from testbed.site.kubelet.launch import Command, Running, run
from testbed.site.kubelet.pod_status import pod_status
from testbed.site.kubelet.probes import Probe, http_succeeds, probe
from testbed.site.kubelet.sandbox import Sandbox, SandboxError, network_becomes
from testbed.site.kubelet.volumes import Volumes, environment, expand

Object = dict[str, Any]
T = TypeVar("T")

RETRY: Final = 1.0
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DONE_BY_THE_MACHINE: Final = frozenset(
    {"mount-cgroup", "apply-sysctl-overwrites", "mount-bpf-fs", "clean-cilium-state", "wait-for-node-init"}
)
"""Init containers of the agent that prepare the node with programs of its image; a machine is prepared already."""
INSTALLS_CNI: Final = "install-cni-binaries"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the pods of a machine share: the API server, its Node, images and a folder for files and logs."""

    client: KubeClient
    node: Object
    images: Images
    folder: Path


class Pod:
    """Runs one pod until it is deleted."""

    def __init__(self, pod: Object, machine: Machine) -> None:
        self.object = pod
        self._machine = machine
        self._changed = asyncio.Event()
        self._path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        self._folder = machine.folder / "pods" / pod["metadata"]["uid"]
        self._volumes = Volumes(machine.client, pod, self._folder)
        self._events = Events(machine.client, pod)
        self._sandbox = Sandbox(pod, self._log("sandbox"))
        self._address = ""
        grace = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
        self._init = [self._container(spec, grace) for spec in pod["spec"].get("initContainers", ())]
        self._containers = [self._container(spec, grace) for spec in pod["spec"]["containers"]]

    async def run(self) -> None:
        """Start the pod, and report its status until cancelled; then end it."""
        reporter = asyncio.create_task(self._report())
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            await self._connect()
            await self._retry(self._volumes.create)
            for container in self._init:
                await self._run_init(container)
            async with asyncio.TaskGroup() as tasks:
                for container in self._containers:
                    tasks.create_task(container.run(partial(self._probes, container.spec)))
        finally:
            reporter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reporter
            await self._sandbox.disconnect()

    def observe(self, pod: Object) -> None:
        """Report the status again if something else has changed it, as the node controller does."""
        self.object = pod
        self._changed.set()

    async def delete(self) -> None:
        """Tell the API server that the pod has ended."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.object["metadata"]["uid"]}}

        async def request() -> None:
            try:
                await self._machine.client.request("DELETE", self._path, body)
            except RequestError as error:
                # Another pod has the name already.
                if error.status != HTTPStatus.CONFLICT:
                    raise

        await self._retry(request)

    def _container(self, spec: Object, grace: float) -> Container:
        name = f"{self.object['metadata']['name']}_{self.object['metadata']['namespace']}"
        return Container(spec, name, grace, partial(self._launch, spec), self._changed.set)

    async def _connect(self) -> None:
        if self.object["spec"].get("hostNetwork"):
            self._address = internal_address(self._machine.node)
            return
        # A kubelet creates no sandbox before the network is configured.
        await network_becomes(ready=True)
        while True:
            try:
                await self._sandbox.connect()
            except SandboxError as error:
                await self._sandbox.disconnect()
                await self._events.sandbox_failed(str(error))
                await asyncio.sleep(RETRY)
            else:
                self._address = self._sandbox.address
                return

    async def _run_init(self, container: Container) -> None:
        name = container.spec["name"]
        if name == INSTALLS_CNI:
            self._machine.images.install_cni(container.spec["image"])
        if name in DONE_BY_THE_MACHINE or name == INSTALLS_CNI:
            container.skip()
            self._changed.set()
            return
        await container.run_to_completion()

    async def _launch(self, spec: Object) -> Running:
        machine = self._machine
        programs = machine.images.programs(spec["image"])
        path = f"{programs}:{SYSTEM_PATH}" if programs else SYSTEM_PATH
        env = await self._retry(partial(environment, machine.client, self.object, machine.node, spec, path))
        mounts = {**self._volumes.mounts(spec), **machine.images.mounts(spec["image"])}
        words = [expand(word, env) for word in (*spec.get("command", ()), *spec.get("args", ()))]
        # Without images, the command of an image is not known.
        words = words or ["sleep", "infinity"]
        command = Command(words, env, mounts, self._sandbox.pid, private_tmp=programs is not None)
        return await Running.start(command, self._log(spec["name"]))

    def _probes(self, spec: Object, running: Running) -> dict[str, Probe]:
        found: dict[str, Probe] = {}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            limit = float(spec.get(kind, {}).get("timeoutSeconds", 1))
            match spec.get(kind):
                case {"httpGet": request}:
                    request = request | {"port": self._port(spec, request["port"])}
                    found[kind] = probe(spec[kind], partial(http_succeeds, request, self._address, limit))
                case {"exec": {"command": words}}:
                    found[kind] = probe(spec[kind], partial(_exec_succeeds, running.pid, words, limit))
                case None:
                    pass
                case other:
                    raise ValueError(f"{kind} is neither httpGet nor exec: {other}")
        return found

    def _port(self, spec: Object, port: int | str) -> int:
        if isinstance(port, int):
            return port
        return next(int(known["containerPort"]) for known in spec.get("ports", ()) if known["name"] == port)

    async def _report(self) -> None:
        """Write the status whenever it has changed."""
        client, host = self._machine.client, internal_address(self._machine.node)
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            expected = pod_status(self.object, host, self._address, self._init, self._containers)
            if contains(self.object.get("status", {}), expected):
                continue
            try:
                body = {"metadata": {"uid": self.object["metadata"]["uid"]}, "status": expected}
                answer = await client.request("PATCH", f"{self._path}/status", body, kind=STRATEGIC_PATCH)
            except TRANSIENT_ERRORS as error:
                log.info("%s: %r", self._path, error)
                await asyncio.sleep(RETRY)
                self._changed.set()
            else:
                self.object = answer or self.object

    async def _retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await attempt()
            except (*TRANSIENT_ERRORS, LookupError) as error:
                log.info("%s: %r", self._path, error)
                await asyncio.sleep(RETRY)

    def _log(self, name: str) -> Path:
        logs = self._machine.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return logs / f"{self.object['metadata']['name']}-{name}.log"


async def _exec_succeeds(pid: int, words: Sequence[str], limit: float) -> bool:
    """Run a command beside a container's process; whether it exits with code 0."""
    try:
        enter = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", f"--net=/proc/{pid}/ns/net", "--"]
        code, _, _ = await run([*enter, *words], limit=limit)
    except (OSError, TimeoutError):
        return False
    return code == 0
