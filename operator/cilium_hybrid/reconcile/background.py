"""A slow request, such as one to a registry, that reconciliations do not wait for."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final

PATIENCE_SECONDS: Final = 2.0
"""How long a reconciliation waits for an answer before it continues without one."""


class InProgressError(Exception):
    """The answer is not there yet; ask again in a later reconciliation."""


class BackgroundRequest:
    """One request at a time. Its answer, or its error, is returned once, to whoever asks with the same key."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._key: Hashable = None
        self._task: asyncio.Task[Any] | None = None

    async def result(self, key: Hashable, start: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer to the request `key`, which is started if it is not running; InProgressError.

        A running request with another key is cancelled: nobody waits for it any more.
        """
        task = self._task
        if task is None or self._key != key:
            await self.cancel()
            self._key, task = key, asyncio.ensure_future(start())
            self._task = task
        await asyncio.wait({task}, timeout=self._patience)
        if not task.done():
            raise InProgressError
        self._task = None
        return task.result()

    async def cancel(self) -> None:
        """End the running request, if any."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            # Otherwise asyncio logs an error that nobody has retrieved.
            task.exception()
