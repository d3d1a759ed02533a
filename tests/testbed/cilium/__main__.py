"""`python -m testbed.cilium --kubeconfig FILE`: acts as the processes of Cilium in one cluster.

It knows nothing but what the API server tells it, so it may be killed and started again at any time.
"""

import argparse
import asyncio
import logging
from pathlib import Path

import yaml

from testbed.cilium.agents import Agents
from testbed.cilium.kube import Kube, Object, Queue
from testbed.cilium.operators import Operators
from testbed.cilium.validators import Validators
from testbed.cilium.view import View

WORKERS = 32


async def act(config: Object) -> None:
    """Follow a cluster for ever."""

    async def handle(key: str) -> None:
        kind, _, name = key.partition("/")
        match kind:
            case "election":
                operators.elect()
            case "operator":
                await operators.start(name)
            case "validator":
                await validators.run(name)
            case _:
                await agents.run(name)
                await operators.tend(name)

    queue = Queue(handle)
    view = View(queue)
    async with Kube.connect(config) as kube, asyncio.TaskGroup() as tasks:
        agents, operators = Agents(kube, view, queue), Operators(kube, view, queue)
        validators = Validators(kube, view, queue)
        view.start(kube, tasks)
        tasks.create_task(operators.look_for_crds())
        for _ in range(WORKERS):
            tasks.create_task(queue.work())


def main() -> None:
    """Run until somebody ends the process."""
    parser = argparse.ArgumentParser(prog="python -m testbed.cilium", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(act(yaml.safe_load(parser.parse_args().kubeconfig.read_text())))


if __name__ == "__main__":
    main()
