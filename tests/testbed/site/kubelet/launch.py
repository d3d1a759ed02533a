"""Starting and ending the processes of containers."""

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Self

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_LOG_BYTES, _LOG_LINES = 2048, 80
"""What a kubelet takes of the log with `terminationMessagePolicy: FallbackToLogsOnError`."""
# A container has its own mounts; the folders are pairs of source and target, up to `--`. A folder that stands for /proc
# lacks the process itself.
_EMPTY_TMP = "mount -t tmpfs tmpfs /tmp"
_WITH_MOUNTS = """
while [ "$1" != -- ]; do mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; done
shift
[ -e /proc/$$ ] || ln -s /run/proc/$$ /proc/$$
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: words and environment, folders to mount, and the network of a process (None for the machine's).

    `private_tmp`: with an empty /tmp, as an image has it.
    """

    words: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    network_of: int | None = None
    private_tmp: bool = False

    def argv(self) -> list[str]:
        """Return the command line."""
        network = [] if self.network_of is None else ["nsenter", f"--net=/proc/{self.network_of}/ns/net", "--"]
        mounts = [word for target, source in sorted(self.mounts.items()) for word in (source, target)]
        private = ["unshare", "--mount", "--propagation", "slave", "--", "sh", "-ec"]
        script = _EMPTY_TMP + _WITH_MOUNTS if self.private_tmp else _WITH_MOUNTS
        return [*network, *private, script, "sh", *mounts, "--", *self.words]


class Running:
    """A process that was started, with its log."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, log_start: int) -> None:
        self._process = process
        self._log = log
        self._log_start = log_start

    @classmethod
    async def start(cls, command: Command, log: Path) -> Self:
        """Start a process that appends to a log and ends with this one."""
        with log.open("ab") as output:
            log_start = output.seek(0, os.SEEK_END)
            process = await _start(command.argv(), command.env, output)
        return cls(process, log, log_start)

    @property
    def pid(self) -> int:
        """The ID of the process."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit code as a container runtime does."""
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    async def end(self, grace: float) -> None:
        """End the process with SIGTERM, and with SIGKILL after `grace` seconds; what it has started ends as well."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def last_words(self) -> str:
        """Return the end of the log, as in a termination message."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read()[-_LOG_BYTES:].decode(errors="replace")
        return "".join(text.splitlines(keepends=True)[-_LOG_LINES:])


async def run(
    words: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: bytes = b"", limit: float = 60.0
) -> tuple[int, str, str]:
    """Run a command and return exit code, output and errors; raise `TimeoutError` after `limit` seconds."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env=os.environ | dict(env or {}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=partial(_die_with, os.getpid()),
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(stdin), limit)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(), errors.decode()


async def _start(argv: Sequence[str], env: Mapping[str, str], output: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *argv,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=partial(_die_with, os.getpid()),
    )


def _die_with(parent: int) -> None:
    """Make the kernel kill this child when its parent ends. Runs in the child, before its program."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
