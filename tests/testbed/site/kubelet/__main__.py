"""`python -m testbed.site.kubelet`: the kubelet of the machine in which it is started."""

import argparse
import asyncio
import logging
from pathlib import Path
from typing import Any

import yaml

from testbed.cilium.kube import TRANSIENT_ERRORS, KubeClient, Store
from testbed.site.kubelet.images import Images
from testbed.site.kubelet.node import renew_lease, report_network
from testbed.site.kubelet.pod import Machine, Pod

Object = dict[str, Any]

RETRY = 1.0

log = logging.getLogger("kubelet")


class Kubelet:
    """Runs the pods that are bound to a node."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._pods = Store(self._pod_changed)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running: dict[str, Pod] = {}
        self._ending: set[str] = set()
        self._ended = asyncio.TaskGroup()

    async def run(self) -> None:
        """Run until cancelled."""
        client, node = self._machine.client, self._machine.node
        async with self._ended as tasks:
            tasks.create_task(renew_lease(client, node))
            tasks.create_task(report_network(client, node))
            bound = f"spec.nodeName={node['metadata']['name']}"
            tasks.create_task(client.follow("/api/v1/pods", self._pods, fields=bound))

    def _pod_changed(self, name: str) -> None:
        pod = self._pods.objects.get(name)
        uid = "" if pod is None else pod["metadata"]["uid"]
        for known in [known for known in self._tasks if known.startswith(f"{name}/") and known != f"{name}/{uid}"]:
            # It was deleted without the kubelet.
            self._tasks.pop(known).cancel()
        if pod is None or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            return
        key = f"{name}/{uid}"
        if "deletionTimestamp" in pod["metadata"]:
            if key not in self._ending:
                self._ending.add(key)
                self._ended.create_task(self._end(pod, self._tasks.pop(key, None)))
        elif key in self._running:
            self._running[key].observe(pod)
        elif key not in self._tasks:
            self._running[key] = Pod(pod, self._machine)
            self._tasks[key] = self._ended.create_task(self._run(key))

    async def _run(self, key: str) -> None:
        try:
            while True:
                try:
                    await self._running[key].run()
                except Exception:
                    # What one pod cannot do does not end the others.
                    log.exception("%s", key)
                    await asyncio.sleep(RETRY)
        except asyncio.CancelledError:
            log.info("%s has ended", key)
        finally:
            del self._running[key]

    async def _end(self, pod: Object, task: "asyncio.Task[None] | None") -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await Pod(pod, self._machine).delete()


async def start(arguments: argparse.Namespace) -> None:
    """Find the node and run its pods until cancelled."""
    programs = dict(word.split("=", 1) for word in arguments.programs)
    async with KubeClient.connect(yaml.safe_load(arguments.kubeconfig.read_text())) as client:
        while True:
            try:
                node = await client.request("GET", f"/api/v1/nodes/{arguments.node}")
            except TRANSIENT_ERRORS as error:
                log.info("%r", error)
                await asyncio.sleep(RETRY)
                continue
            if node is not None:
                break
            await asyncio.sleep(RETRY)
        images = Images({minor: Path(folder) for minor, folder in programs.items()}, arguments.folder)
        await Kubelet(Machine(client, node, images, arguments.folder)).run()


def main() -> None:
    """Run until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m testbed.site.kubelet", description=__doc__)
    parser.add_argument("--node", required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for volumes and logs")
    parser.add_argument("--programs", nargs="*", default=[], metavar="MINOR=FOLDER")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(start(parser.parse_args()))


if __name__ == "__main__":
    main()
