"""The files and the environment of a container."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.cilium.kube import KubeClient
from testbed.nodes import internal_address

Object = dict[str, Any]

TOKEN_SECONDS = 24 * 3600
SERVICE_HOST, SERVICE_PORT = "10.250.0.1", "443"


class Volumes:
    """The volumes of a pod, as folders of the machine."""

    def __init__(self, client: KubeClient, pod: Object, folder: Path) -> None:
        self._client = client
        self._pod = pod
        self._folder = folder

    async def create(self) -> None:
        """Write what the volumes contain; raise `LookupError` if something that is not optional is missing."""
        for volume in self._pod["spec"].get("volumes", ()):
            folder = self._folder / volume["name"]
            match volume:
                case {"hostPath": host}:
                    if "Directory" in host.get("type", ""):
                        Path(host["path"]).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 # in memory
                case {"projected": projected}:
                    folder.mkdir(parents=True, exist_ok=True)
                    for source in projected["sources"]:
                        await self._project(source, folder)
                case _:
                    folder.mkdir(parents=True, exist_ok=True)
                    await self._project(volume, folder)

    def mounts(self, container: Object) -> Mapping[str, str]:
        """Return the folder of the machine for each mount path of a container that is another one."""
        by_name = {volume["name"]: volume for volume in self._pod["spec"].get("volumes", ())}
        mounts = {}
        for mount in container.get("volumeMounts", ()):
            host = by_name[mount["name"]].get("hostPath")
            source = str(self._folder / mount["name"]) if host is None else host["path"]
            # /host has links to the folders of the machine.
            if host is None or not (Path(source).is_file() or mount["mountPath"] in {source, f"/host{source}"}):
                mounts[mount["mountPath"]] = source
        return mounts

    async def _project(self, source: Object, folder: Path) -> None:
        match source:
            case {"configMap": reference}:
                await self._copy("configmaps", reference, folder)
            case {"secret": reference}:
                await self._copy("secrets", {"name": reference.get("secretName"), **reference}, folder)
            case {"serviceAccountToken": token}:
                (folder / token["path"]).write_text(await self._token())
            case {"downwardAPI": {"items": items}}:
                for item in items:
                    (folder / item["path"]).write_text(str(field(self._pod, item["fieldRef"]["fieldPath"])))
            case _:
                # An emptyDir.
                pass

    async def _copy(self, kind: str, reference: Object, folder: Path) -> None:
        namespace, name = self._pod["metadata"]["namespace"], reference["name"]
        found = await self._client.request("GET", f"/api/v1/namespaces/{namespace}/{kind}/{name}")
        if found is None:
            if reference.get("optional"):
                return
            raise LookupError(f'MountVolume.SetUp failed: {kind[:-1]} "{name}" not found')
        data = {key: text.encode() for key, text in (found.get("data") or {}).items()}
        if kind == "secrets":
            data = {key: base64.b64decode(text) for key, text in data.items()}
        paths = {item["key"]: item["path"] for item in reference.get("items", ())} or {key: key for key in data}
        for key, path in paths.items():
            if key in data:
                (folder / path).write_bytes(data[key])

    async def _token(self) -> str:
        namespace, account = self._pod["metadata"]["namespace"], self._pod["spec"]["serviceAccountName"]
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = await self._client.request("POST", path, {"spec": {"expirationSeconds": TOKEN_SECONDS}})
        if answer is None:
            raise LookupError(f'serviceaccount "{account}" not found')
        token: str = answer["status"]["token"]
        return token


async def environment(client: KubeClient, pod: Object, node: Object, container: Object, path: str) -> dict[str, str]:
    """Return the environment of a container; `path` are the folders with programs."""
    env = {
        "PATH": path,
        "HOME": "/root",
        "HOSTNAME": pod["metadata"]["name"],
        "KUBERNETES_SERVICE_HOST": SERVICE_HOST,
        "KUBERNETES_SERVICE_PORT": SERVICE_PORT,
    }
    for entry in container.get("env", ()):
        value = await _value(client, pod, node, entry)
        if value is not None:
            env[entry["name"]] = expand(value, env)
    return env


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace `$(NAME)` as a kubelet does; an unknown name stays as it is."""
    return re.sub(r"\$\(([A-Za-z0-9_]+)\)", lambda found: env.get(found[1], found[0]), text)


def field(pod: Object, path: str) -> str:
    """Return the field of a pod that the downward API names."""
    value: Any = pod
    for part in path.split("."):
        value = value[part]
    return str(value)


async def _value(client: KubeClient, pod: Object, node: Object, entry: Object) -> str | None:
    match entry.get("valueFrom"):
        case None:
            return str(entry.get("value", ""))
        case {"fieldRef": {"fieldPath": "status.podIP" | "status.hostIP"}}:
            return internal_address(node)
        case {"fieldRef": {"fieldPath": path}}:
            return field(pod, path)
        case {"configMapKeyRef": {"name": name, "key": key}}:
            found = await client.request("GET", f"/api/v1/namespaces/{pod['metadata']['namespace']}/configmaps/{name}")
            value: str | None = (found or {}).get("data", {}).get(key)
            return value
        case _:
            # The limits of resources: they are not enforced here.
            return None
