"""Kopf's events of the resource. They wake a pass; kopf writes nothing."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import kopf
from kopf._cogs.clients.errors import APINotFoundError
from kopf._cogs.structs.references import Insights

from cilium_hybrid.api.v1alpha1 import GROUP, PLURAL, VERSION
from cilium_hybrid.tasks import first


class NotServedError(RuntimeError):
    """The API server does not serve the resource: its definition is not there, or too new, or just gone."""


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

    return handlers


async def watch_resource(changed: Callable[[], None], in_cluster: bool, take_signals: Callable[[], None]) -> NoReturn:
    """Watch the resource until kopf gives up, and raise why: NotServedError, or whatever kopf says.

    `take_signals` takes back those that kopf takes.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # One kind, whose definition is there before the operator starts: no need to watch all definitions.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 590
    settings.watching.client_timeout = 620
    settings.watching.connect_timeout = 15
    # Where its watch ends, the process decides what to do: kopf would kill it after a while.
    settings.process.ultimate_exiting_timeout = None
    found = Insights()
    tasks = await kopf.spawn_tasks(
        registry=registry(changed, in_cluster), settings=settings, insights=found, standalone=True, clusterwide=True
    )
    # Those of a kopf that has given up would go nowhere.
    take_signals()
    try:
        # Not kopf's `run_tasks`: it takes every task begun after its own for its own, and cancels them all at its end.
        await first(*tasks, _is_served(found))
    except APINotFoundError as error:
        raise NotServedError from error
    raise RuntimeError("kopf ended, and did not say why")


async def _is_served(found: Insights) -> None:
    """Raise where kopf found no such resource: it would wait for ever, and say so to nobody."""
    await found.ready_resources.wait()
    if not found.watched_resources:
        raise NotServedError
    await asyncio.Event().wait()
