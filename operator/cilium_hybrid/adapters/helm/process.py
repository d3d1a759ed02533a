"""A child process without a shell that cannot outlive its parent or its deadline, nor print without end."""

import asyncio
import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

GRACE_SECONDS: Final = 4.0
"""How long Helm may take after SIGTERM to mark its release as failed."""
MAX_STDOUT: Final = 16 << 20
"""In bytes. The manifests of Cilium take less than one MiB, and Helm's own Secret holds about as much."""
MAX_STDERR: Final = 64 << 10
"""In bytes, of the end, which contains the error."""
_CHUNK: Final = 64 << 10
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended; a negative code is the number of the signal that ended it.

    `timed_out` and `too_long` mean that it was ended because of its deadline or of what it printed.
    """

    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    too_long: bool = False


async def run(arguments: Sequence[str], stdin: bytes | None, environment: Mapping[str, str], seconds: float) -> Ended:
    """Run a process to its end, or for so many seconds; OSError if it cannot be started.

    On the deadline and on cancellation it gets SIGTERM, SIGKILL after the grace period, and is awaited.
    """
    starting = asyncio.ensure_future(_start(arguments, environment, with_stdin=stdin is not None))
    try:
        # Without the shield, asyncio kills the process if the task is cancelled while it starts.
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError):
            process = await starting
            await _end(process, asyncio.ensure_future(_exchange(process, stdin)))
        raise
    exchange = asyncio.ensure_future(_exchange(process, stdin))
    try:
        done, _ = await asyncio.wait([exchange], timeout=seconds)
    except asyncio.CancelledError:
        await _end(process, exchange)
        raise
    if not done:
        await _end(process, exchange)
        code = -signal.SIGKILL if process.returncode is None else process.returncode
        return Ended(code, b"", b"", timed_out=True)
    return exchange.result()


async def _start(
    arguments: Sequence[str], environment: Mapping[str, str], *, with_stdin: bool
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE if with_stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        preexec_fn=partial(_terminate_with_parent, os.getpid()),
    )


def _terminate_with_parent(parent: int) -> None:
    """Runs in the child: a Helm that outlives its operator would change the release while the next leader acts."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # The parent was killed before the line above.
        os._exit(1)


async def _exchange(process: asyncio.subprocess.Process, stdin: bytes | None) -> Ended:
    """Write the input and read the output until the process has ended."""
    _, (stdout, too_long), stderr = await asyncio.gather(
        _feed(process.stdin, stdin), _read_stdout(process), _read_end(process.stderr)
    )
    return Ended(await process.wait(), stdout, stderr, too_long=too_long)


async def _feed(stream: asyncio.StreamWriter | None, content: bytes | None) -> None:
    if stream is None or content is None:
        return
    with suppress(BrokenPipeError, ConnectionResetError):
        stream.write(content)
        await stream.drain()
    stream.close()


async def _read_stdout(process: asyncio.subprocess.Process) -> tuple[bytes, bool]:
    """Return the output and whether it was too long; then the process is asked to end, and the rest is dropped."""
    content, too_long = bytearray(), False
    while process.stdout is not None and (chunk := await process.stdout.read(_CHUNK)):
        if not too_long:
            content += chunk
        if len(content) > MAX_STDOUT:
            content, too_long = bytearray(), True
            _signal(process, signal.SIGTERM)
    return bytes(content), too_long


async def _read_end(stream: asyncio.StreamReader | None) -> bytes:
    """Return the end of a stream."""
    content = b""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        content = (content + chunk)[-MAX_STDERR:]
    return content


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to exactly this process, if it has not ended."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(number)


async def _end(process: asyncio.subprocess.Process, exchange: "asyncio.Future[Ended]") -> None:
    """End the process, and return when it has ended, even if a child of its own still holds its output open."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(process, number)
        done, _ = await asyncio.wait([exchange], timeout=GRACE_SECONDS)
        if done:
            return
    exchange.cancel()
    await asyncio.wait([exchange])
    # Nothing else closes this process's ends of the pipes.
    process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001
    await asyncio.sleep(0)
