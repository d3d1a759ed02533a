"""Tasks side by side that live and end together."""

import asyncio
from collections.abc import Awaitable
from typing import Any


async def first(*parts: Awaitable[Any]) -> None:
    """Run side by side until one ends, end the others, and raise what went wrong in any.

    One that somebody else cancelled went wrong as well: CancelledError is raised.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
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
