"""Kopf's events of the resource. They wake a pass; kopf writes nothing."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import kopf

from cilium_hybrid.api.v1alpha1 import GROUP, PLURAL, VERSION


def _login_in_pod(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The ServiceAccount, at the address that the kubelet gives: the host network cannot resolve the name kopf uses."""
    account = kopf.login_with_service_account(settings=settings)
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    return account and replace(account, server=server)


def registry(changed: Callable[[], None], in_cluster: bool) -> kopf.OperatorRegistry:
    """The handlers: log in, wake at each event of the resource. Other handlers of kopf would write annotations."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(_login_in_pod if in_cluster else kopf.login_with_kubeconfig)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def wake(**_: Any) -> None:
        """Ask for a pass. It reads the resource itself, so a lost or doubled event does no harm."""
        changed()

    @kopf.on.cleanup(registry=handlers)
    async def stopped(memo: kopf.Memo, **_: Any) -> None:
        """Let go of the stop flag; kopf would wait five seconds for its own waiter on it."""
        memo.stop.set()

    return handlers


async def watch_resource(changed: Callable[[], None], in_cluster: bool) -> None:
    """Watch the resource until SIGTERM or SIGINT, which kopf takes."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # One kind, whose definition is there before the operator starts: no need to watch all definitions.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 590
    settings.watching.client_timeout = 620
    settings.watching.connect_timeout = 15
    # Where its watch ends, the process decides what to do: kopf would kill it after a while.
    settings.process.ultimate_exiting_timeout = None
    stop = asyncio.Event()
    await kopf.operator(
        registry=registry(changed, in_cluster),
        settings=settings,
        memo=kopf.Memo(stop=stop),
        stop_flag=stop,
        standalone=True,
        clusterwide=True,
    )
