"""Run tasks concurrently as one group, and restart those that must not end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 1.0
MAX_PAUSE: Final = 60.0
"""Seconds between two starts of a task that fails; they double."""


async def run_supervised(name: str, run: Callable[[], Awaitable[None]]) -> NoReturn:
    """Run a task forever: an unexpected error is logged with its traceback, and the task is started again."""
    loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
    while True:
        started = loop.time()
        try:
            await run()
            log.error("%s has ended; starting it again in %g s", name, pause)
        except Exception:
            log.exception("%s failed; starting it again in %g s", name, pause)
        if loop.time() - started > MAX_PAUSE:
            pause = FIRST_PAUSE
        await asyncio.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE)


async def run_until_first_completed(*awaitables: Awaitable[Any]) -> None:
    """Run all concurrently until one completes, cancel the others, and raise an exception of any of them.

    CancelledError is raised if one of them was cancelled by other code.
    """
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unfinished = [task for task in tasks if not task.done()]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
    for task in tasks:
        if not (task.cancelled() and task in unfinished):
            task.result()
