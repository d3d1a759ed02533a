"""Run the helm binary for pyhelm3: without a shell, terminated with its parent, with errors that hold no secrets."""

import asyncio
import ctypes
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import semver
from pyhelm3 import Command

from cilium_hybrid.ports import HelmInterruptedError

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 4.0
"""How long Helm may take after SIGTERM to mark its release as failed."""

_MAX_MESSAGE_LENGTH: Final = 600
_SECRETS: Final = re.compile(r"-----BEGIN[^-]+-----.*?(?:-----END[^-]+-----|$)|[A-Za-z0-9+/=_-]{100,}", re.DOTALL)
_NOISE: Final = re.compile(r"^(WARNING|level=|time=|I\d{4}|W\d{4}|Use --debug|Pulled:|Digest:)")
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


class HelmError(Exception):
    """Helm failed; the message is Helm's own, shortened and without secrets."""


@dataclass(frozen=True, slots=True)
class HelmOutput:
    """What Helm printed."""

    stdout: bytes
    stderr: bytes


class HelmCommand(Command):  # type: ignore[misc] # pyhelm3 has no types
    """Replaces pyhelm3's Command, which runs `sh -c`: cancelling it would leave Helm running (docs/decisions/0002).

    `finished` is called after each run with Helm's command, the seconds it took and whether it succeeded.
    """

    def __init__(self, executable: Path, home: Path, finished: Callable[[str, float, bool], None]) -> None:
        super().__init__(executable=str(executable), default_timeout="5m", history_max_revisions=10)
        self.binary = executable
        self._finished = finished
        self._environment = {
            **os.environ,
            "HELM_CACHE_HOME": str(home / "cache"),
            "HELM_CONFIG_HOME": str(home / "config"),
            "HELM_DATA_HOME": str(home / "data"),
        }
        self._labels: Mapping[str, str] = {}
        self._version: semver.Version | None = None

    @contextmanager
    def with_labels(self, labels: Mapping[str, str]) -> Iterator[None]:
        """Add labels to the revision that is created within this context; pyhelm3 has no argument for them."""
        self._labels = labels
        try:
            yield
        finally:
            self._labels = {}

    async def run(self, command: Sequence[Any], input: bytes | None = None) -> bytes:  # noqa: A002 # pyhelm3's name
        """Run Helm and return its standard output; HelmError, HelmInterruptedError."""
        arguments = [str(part) for part in command]
        if arguments[0] == "upgrade" and self._labels:
            arguments += ["--labels", ",".join(f"{key}={value}" for key, value in self._labels.items())]
        return (await self.execute(arguments, input)).stdout

    async def execute(self, arguments: Sequence[str], stdin: bytes | None = None) -> HelmOutput:
        """Run Helm and return what it printed; HelmError, HelmInterruptedError."""
        log.debug("helm %s", arguments[0])
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                self.binary,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                preexec_fn=partial(_terminate_with_parent, os.getpid()),
            )
        )
        communication = None
        try:
            # Without the shield, asyncio kills the process if the task is cancelled while it starts.
            process = await asyncio.shield(starting)
            started = time.monotonic()
            communication = asyncio.ensure_future(process.communicate(stdin))
            stdout, stderr = await asyncio.shield(communication)
        except asyncio.CancelledError:
            process = await starting
            await _terminate(process, communication or asyncio.ensure_future(process.communicate(stdin)))
            raise
        self._finished(arguments[0], time.monotonic() - started, not process.returncode)
        if process.returncode is not None and process.returncode < 0:
            raise HelmInterruptedError(
                f"Helm was killed by signal {-process.returncode}; "
                "check the memory limit and the events of the operator's pod"
            )
        if process.returncode:
            raise HelmError(summarize_stderr(stderr))
        return HelmOutput(stdout, stderr)

    def client_version(self) -> semver.Version:
        """Return Helm's version, cached. A Helm built from source reports v4.3, which pyhelm3 cannot parse."""
        if self._version is not None:
            return self._version
        arguments = [str(self.binary), "version", "--template", "{{ .Version }}"]
        result = subprocess.run(arguments, capture_output=True, check=True, text=True, timeout=30)
        numbers = [int(number) for number in re.findall(r"\d+", result.stdout)][:3]
        self._version = semver.Version(*[*numbers, 0, 0, 0][:3])
        return self._version


def summarize_stderr(stderr: bytes) -> str:
    """Return Helm's error as one short line, without anything that may be a key or a certificate."""
    text = _SECRETS.sub("<redacted>", stderr.decode(errors="replace"))
    lines = (line.strip().removeprefix("Error: ").lstrip("- ") for line in text.splitlines())
    message = "; ".join(line for line in lines if line and not _NOISE.match(line))
    return message if len(message) <= _MAX_MESSAGE_LENGTH else message[: _MAX_MESSAGE_LENGTH - 1] + "…"


def _terminate_with_parent(parent: int) -> None:
    """Runs in the child: a Helm that outlives its operator would change the release while the next leader acts."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # The parent was killed before the line above.
        os._exit(1)


async def _terminate(process: asyncio.subprocess.Process, communication: "asyncio.Future[tuple[bytes, bytes]]") -> None:
    if process.returncode is None:
        process.terminate()
    done, _ = await asyncio.wait([communication], timeout=GRACE_SECONDS)
    if not done:
        process.kill()
        await asyncio.wait([communication])
