"""The network of a pod: that of the machine, or one of its own that the CNI plugin connects."""

import asyncio
import json
from pathlib import Path
from typing import Any

from testbed.site.kubelet.launch import Command, Running, run

Object = dict[str, Any]

CNI_CONFIGURATIONS = Path("/etc/cni/net.d")
CNI_PLUGINS = Path("/opt/cni/bin")
INTERFACE = "eth0"


class SandboxError(RuntimeError):
    """The network of a pod could not be set up; the message is the one of containerd."""


class Sandbox:
    """The network namespace of a pod, held by a process."""

    def __init__(self, pod: Object, log: Path) -> None:
        self.address = ""
        self._metadata = pod["metadata"]
        self._log = log
        self._holder: Running | None = None

    @property
    def pid(self) -> int | None:
        """The process that has the pod's network, None before `connect`."""
        return None if self._holder is None else self._holder.pid

    async def connect(self) -> None:
        """Connect the pod with the CNI plugin that is configured on the machine; raise `SandboxError`."""
        configuration = cni_configuration()
        if configuration is None:
            raise SandboxError("cni plugin not initialized")
        words = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity"]
        self._holder = await Running.start(Command(words), self._log)
        while _network(str(self.pid)) == _network("self"):  # noqa: ASYNC110 # until unshare has run
            await asyncio.sleep(0.01)
        result = await self._call("ADD", configuration)
        self.address = str(result["ips"][0]["address"]).partition("/")[0]

    async def disconnect(self) -> None:
        """Undo `connect`; what the plugin cannot undo is left to the next start of the agent."""
        if self._holder is not None:
            configuration = cni_configuration()
            try:
                if configuration is not None:
                    await self._call("DEL", configuration)
            except SandboxError as error:
                with self._log.open("a") as log:
                    print(error, file=log)
            await self._holder.end(0)
            self._holder = None

    async def _call(self, command: str, configuration: Object) -> Object:
        """Call the first plugin of the configuration."""
        plugin = configuration["plugins"][0]
        kind, name, pod = plugin["type"], self._metadata["name"], self._metadata["uid"]
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod.replace("-", ""),
            "CNI_NETNS": f"/proc/{self.pid}/ns/net",
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": str(CNI_PLUGINS),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={self._metadata['namespace']};K8S_POD_NAME={name}"
            f";K8S_POD_INFRA_CONTAINER_ID={pod.replace('-', '')};K8S_POD_UID={pod}",
        }
        whole = plugin | {"name": configuration["name"], "cniVersion": configuration["cniVersion"]}
        try:
            code, output, errors = await run([str(CNI_PLUGINS / kind)], env=env, stdin=json.dumps(whole).encode())
        except (OSError, TimeoutError) as error:
            raise SandboxError(f"plugin type={json.dumps(kind)} failed ({command.lower()}): {error!r}") from error
        with self._log.open("a") as log:
            print(command, code, output, errors, file=log)
        if code != 0:
            reason = _reason(output) or errors.strip() or f"exit code {code}"
            raise SandboxError(f"plugin type={json.dumps(kind)} failed ({command.lower()}): {reason}")
        answer: Object = json.loads(output or "{}")
        return answer


def cni_configuration() -> Object | None:
    """Return the CNI configuration of the machine, as containerd chooses it: the first file by name."""
    for path in sorted(CNI_CONFIGURATIONS.glob("*.conflist")):
        try:
            found: Object = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        return found
    return None


async def network_becomes(*, ready: bool) -> None:
    """Wait until the machine has a CNI configuration, or has none any more."""
    while (cni_configuration() is not None) != ready:  # noqa: ASYNC110 # a kubelet polls the runtime as well
        await asyncio.sleep(0.5)


def _network(process: str) -> Path:
    return Path(f"/proc/{process}/ns/net").readlink()


def _reason(output: str) -> str:
    try:
        answer = json.loads(output)
    except ValueError:
        return ""
    return f"{answer.get('msg', '')} {answer.get('details', '')}".strip()
