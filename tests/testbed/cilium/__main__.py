"""`python -m testbed.cilium --kubeconfig FILE`: acts as the processes of Cilium in one cluster.

With `--beside-cilium` it acts only on the simulated nodes of a cluster in which Cilium itself runs on others.
All state is in the API server, so the process may be killed and restarted at any time.
"""

import argparse
import asyncio
import logging
from pathlib import Path

import yaml

from testbed.cilium.agents import Agents
from testbed.cilium.cluster_state import ClusterState
from testbed.cilium.kube import KubeClient, Object, Queue
from testbed.cilium.operators import Operators
from testbed.cilium.validators import Validators

WORKERS = 32


async def run(config: Object, *, beside_cilium: bool) -> None:
    """Act in the cluster of a kubeconfig until cancelled; `beside_cilium`: Cilium's own operator allocates blocks."""

    async def handle(key: str) -> None:
        kind, _, name = key.partition("/")
        match kind:
            case "election":
                operators.elect()
            case "operator":
                if not beside_cilium:
                    await operators.start_pod(name)
            case "validator":
                await validators.run(name)
            case _:
                await agents.run(name)
                if not beside_cilium:
                    await operators.reconcile_node(name)

    queue = Queue(handle)
    cluster = ClusterState(queue)
    async with KubeClient.connect(config) as client, asyncio.TaskGroup() as tasks:
        agents, operators = Agents(client, cluster, queue), Operators(client, cluster, queue)
        validators = Validators(client, cluster, queue)
        cluster.start(client, tasks)
        tasks.create_task(operators.find_crds(wait=beside_cilium))
        for _ in range(WORKERS):
            tasks.create_task(queue.work())


def main() -> None:
    """Run until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m testbed.cilium", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--beside-cilium", action="store_true")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    options = parser.parse_args()
    asyncio.run(run(yaml.safe_load(options.kubeconfig.read_text()), beside_cilium=options.beside_cilium))


if __name__ == "__main__":
    main()
