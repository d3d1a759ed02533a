"""Run tasks concurrently as one group."""

import asyncio
from collections.abc import Awaitable
from typing import Any


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
