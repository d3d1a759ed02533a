"""Runs the image as the kubelet would: read-only root, non-root user, the volumes of deploy/ and own namespaces."""

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from testbed.cluster import Cluster
from testbed.operator import ACCOUNT, NAMESPACE, ROOT
from testbed.processes import Identity, Process, wait_until

ENTRY = Path(__file__).with_name("pod_entry.py")
ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that `image.build` wrote into a folder."""

    rootfs: Path
    config: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the image in this folder."""
        return cls((folder / "rootfs").resolve(), json.loads((folder / "config.json").read_text()))

    @property
    def env(self) -> dict[str, str]:
        """The environment variables of the image."""
        return dict(entry.split("=", 1) for entry in self.config["Env"])


class Container(Process):
    """A container. `identity` is that of unshare, which waits for the first process and returns its exit code."""

    @property
    def first(self) -> Identity:
        """The container's process with ID 1."""
        assert self.identity is not None
        children = Path(f"/proc/{self.identity.pid}/task/{self.identity.pid}/children")
        return Identity.of(int(wait_until(lambda: children.read_text().split(), timeout=5, what="unshare to fork")[0]))

    def terminate(self, *, limit: float) -> int:
        """Send SIGTERM, as the kubelet does, and return the exit code."""
        assert self._child is not None
        self.first.send(signal.SIGTERM)
        return self._child.wait(limit)

    def stop(self, *, limit: float = 10.0) -> None:
        """Stop the container; unshare ignores SIGTERM while it waits, and its child is killed with it."""
        if self.alive:
            self.first.end(limit=limit)
        self.kill()


def deployed() -> dict[str, Any]:
    """Return the pod spec of the Deployment in deploy/."""
    objects = yaml.safe_load_all((ROOT / "deploy" / "operator" / "deployment.yaml").read_text())
    pod: dict[str, Any] = next(document for document in objects if document["kind"] == "Deployment")["spec"][
        "template"
    ]["spec"]
    return pod


def pod_fields(name: str, node: str) -> dict[str, str]:
    """Return the pod's fields that the environment of the Deployment may refer to."""
    return {"metadata.name": name, "metadata.namespace": NAMESPACE, "spec.nodeName": node}


def in_pod(
    image: Image, cluster: Cluster, *, name: str, env: Mapping[str, str], ca: Path, argv: Sequence[str] | None = None
) -> Container:
    """Return the operator's container in a pod of a cluster, not started yet; with `argv` it runs another program."""
    pod = deployed()
    (container,) = pod["containers"]
    fields = pod_fields(name, cluster.objects("nodes")[0]["metadata"]["name"])
    pod_env = {
        variable["name"]: variable.get("value") or fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for variable in container["env"]
    }
    host, port = cluster.server.removeprefix("https://").rsplit(":", 1)
    service_env = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"].removesuffix("i") for volume in pod["volumes"]}
    secrets = {
        ACCOUNT_FOLDER: {
            "token": cluster.kubectl("create", "token", ACCOUNT, "-n", NAMESPACE).strip(),
            "ca.crt": (cluster.folder / "pki" / "ca.pem").read_text(),
            "namespace": NAMESPACE,
        },
        "/run/registry": {"ca.crt": ca.read_text()},
    }
    entry = {
        "rootfs": str(image.rootfs),
        "folder": image.config["WorkingDir"],
        "uid": pod["securityContext"]["runAsUser"],
        "gid": pod["securityContext"]["runAsGroup"],
        "volumes": {mount["mountPath"]: sizes[mount["name"]] for mount in container["volumeMounts"]},
        "secrets": secrets,
        "env": image.env | pod_env | service_env | {"SSL_CERT_FILE": "/run/registry/ca.crt"} | dict(env),
        "argv": list(argv) if argv is not None else [*image.config["Entrypoint"], *container["args"]],
    }
    file = cluster.folder / f"{name}.json"
    file.write_text(json.dumps(entry))
    file.chmod(0o600)
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--"]
    return Container(name, [*unshare, sys.executable, "-I", str(ENTRY), str(file)], cluster.folder)


def output_of(container: Container) -> str:
    """Run a container until it exits and return its output."""
    container.start()
    try:
        wait_until(lambda: not container.alive, timeout=30, what=f"{container.name} to exit")
    finally:
        container.kill()
    return container.log.read_text()
