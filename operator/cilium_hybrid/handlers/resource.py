"""Watch the CiliumHybrid with kopf. Its events trigger reconciliations; kopf itself writes nothing.

A lost watch only delays a reconciliation, since each one reads the resource itself.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NoReturn

import kopf
from kopf._cogs.clients.errors import APINotFoundError
from kopf._cogs.structs.references import Insights

from cilium_hybrid.adapters.kube.informer import WATCH_SECONDS
from cilium_hybrid.adapters.kube.watch_state import SILENCE_SECONDS, WatchState
from cilium_hybrid.api.v1alpha1 import GROUP, PLURAL, VERSION
from cilium_hybrid.handlers.traced_session import traced_session
from cilium_hybrid.tasks import run_until_first_completed

FIRST_LOGIN_PAUSE: Final = 1.0
MAX_LOGIN_PAUSE: Final = 30.0
"""Seconds between two logins, which double: kopf logs in again as soon as the API server answers with 401."""


class NotServedError(RuntimeError):
    """The API server does not serve the resource: its CRD does not exist, was just created, or was just deleted."""


def _log_in_from_pod(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """Use the ServiceAccount with the API server's address from the environment.

    kopf uses a DNS name instead, which pods in the host network cannot resolve.
    """
    account = kopf.login_with_service_account(settings=settings)
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    return account and replace(account, server=server)


def new_watch_state() -> WatchState:
    """Return the state of kopf's watch, which no decision rests on. kopf itself ends a silent watch."""
    return WatchState(PLURAL, required=False, silence_seconds=float("inf"))


def registry(changed: Callable[[], None], in_cluster: bool, state: WatchState) -> kopf.OperatorRegistry:
    """Return the handlers: a login, and `changed` for each event. Other kinds of kopf handlers write annotations."""
    handlers = kopf.OperatorRegistry()
    log_in, logged_in_at, pause = _log_in_from_pod if in_cluster else kopf.login_with_kubeconfig, float("-inf"), 0.0

    @kopf.on.login(registry=handlers)
    async def log_in_again(settings: kopf.OperatorSettings, **_: Any) -> kopf.AiohttpSession | None:
        """Log in. With a session of our own, kopf would not notice that the credentials are the refused ones."""
        nonlocal logged_in_at, pause
        loop = asyncio.get_running_loop()
        if loop.time() - logged_in_at > 2 * MAX_LOGIN_PAUSE:
            pause = 0.0
        await asyncio.sleep(pause)
        logged_in_at, pause = loop.time(), min(max(FIRST_LOGIN_PAUSE, 2 * pause), MAX_LOGIN_PAUSE)
        info = log_in(settings=settings)
        return None if info is None else traced_session(info, state)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def trigger_reconciliation(**_: Any) -> None:
        """Request a reconciliation. It reads the resource itself, so lost or duplicate events do no harm."""
        changed()

    return handlers


async def watch_resource(
    changed: Callable[[], None], in_cluster: bool, restore_signal_handlers: Callable[[], None], state: WatchState
) -> NoReturn:
    """Watch the resource until kopf stops, and raise why: NotServedError, or an error of kopf.

    `restore_signal_handlers` is called after kopf has installed its own. `state` shows whether the watch is lost.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # There is one kind, whose CRD exists before the operator starts: watching all CRDs is unnecessary.
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 30
    settings.watching.connect_timeout = 15
    settings.watching.inactivity_timeout = SILENCE_SECONDS
    # If the watch ends, this process decides what to do; by default kopf kills the process after a timeout.
    settings.process.ultimate_exiting_timeout = None
    insights = Insights()
    tasks = await kopf.spawn_tasks(
        registry=registry(changed, in_cluster, state),
        settings=settings,
        insights=insights,
        standalone=True,
        clusterwide=True,
    )
    # A kopf that has stopped would ignore the signals that it handles.
    restore_signal_handlers()
    try:
        # Not kopf's `run_tasks`, which at its end cancels every task that was created after its own.
        await run_until_first_completed(*tasks, _require_served(insights))
    except APINotFoundError as error:
        raise NotServedError from error
    raise RuntimeError("kopf stopped without an error")


async def _require_served(insights: Insights) -> None:
    """Raise NotServedError if kopf found no such resource: kopf itself would wait forever without a log message."""
    await insights.ready_resources.wait()
    if not insights.watched_resources:
        raise NotServedError
    await asyncio.Event().wait()
