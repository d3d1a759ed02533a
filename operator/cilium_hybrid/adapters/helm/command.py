"""Helm's command line for pyhelm3: no shell, ended with its parent, errors as ours and without secrets."""

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

from cilium_hybrid.ports import HelmEndedError

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 4.0
"""How long Helm may take to mark its release failed when it is told to end."""

_LONGEST_MESSAGE: Final = 600
_SECRETS: Final = re.compile(r"-----BEGIN[^-]+-----.*?(?:-----END[^-]+-----|$)|[A-Za-z0-9+/=_-]{100,}", re.DOTALL)
_NOISE: Final = re.compile(r"^(WARNING|level=|time=|I\d{4}|W\d{4}|Use --debug|Pulled:|Digest:)")
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


class HelmError(Exception):
    """Helm ended with an error; the text is its own words, short and without secrets."""


@dataclass(frozen=True, slots=True)
class Said:
    """What Helm printed."""

    out: bytes
    err: bytes


class HelmCommand(Command):  # type: ignore[misc] # pyhelm3 has no types
    """pyhelm3's Command, which runs `sh -c`: a cancelled call would leave Helm running (docs/decisions/0002)."""

    def __init__(self, executable: Path, home: Path, called: Callable[[str, float, bool], None]) -> None:
        super().__init__(executable=str(executable), default_timeout="5m", history_max_revisions=10)
        self.binary = executable
        self._called = called
        self._environment = {
            **os.environ,
            "HELM_CACHE_HOME": str(home / "cache"),
            "HELM_CONFIG_HOME": str(home / "config"),
            "HELM_DATA_HOME": str(home / "data"),
        }
        self._labels: Mapping[str, str] = {}
        self._version: semver.Version | None = None

    @contextmanager
    def labelled(self, labels: Mapping[str, str]) -> Iterator[None]:
        """Give the revision that is made inside these labels; pyhelm3 has no argument for them."""
        self._labels = labels
        try:
            yield
        finally:
            self._labels = {}

    async def run(self, command: Sequence[Any], input: bytes | None = None) -> bytes:  # noqa: A002 # pyhelm3's name
        """Run Helm with these arguments; HelmError."""
        arguments = [str(part) for part in command]
        if arguments[0] == "upgrade" and self._labels:
            arguments += ["--labels", ",".join(f"{key}={value}" for key, value in self._labels.items())]
        return (await self.say(arguments, input)).out

    async def say(self, arguments: Sequence[str], stdin: bytes | None = None) -> Said:
        """Run Helm and return both of its streams; HelmError."""
        log.debug("helm %s", arguments[0])
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                self.binary,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                preexec_fn=partial(_end_with, os.getpid()),
            )
        )
        talk = None
        try:
            # Without the shield asyncio kills a process that is cancelled while it starts.
            process = await asyncio.shield(starting)
            started = time.monotonic()
            talk = asyncio.ensure_future(process.communicate(stdin))
            out, err = await asyncio.shield(talk)
        except asyncio.CancelledError:
            process = await starting
            await _end(process, talk or asyncio.ensure_future(process.communicate(stdin)))
            raise
        self._called(arguments[0], time.monotonic() - started, not process.returncode)
        if process.returncode is not None and process.returncode < 0:
            raise HelmEndedError(
                f"Helm was ended by signal {-process.returncode}: see the memory and the events of the pod"
            )
        if process.returncode:
            raise HelmError(readable(err))
        return Said(out, err)

    def client_version(self) -> semver.Version:
        """Helm's version, asked once. A plainly built Helm says v4.3, which pyhelm3 takes for no version at all."""
        if self._version is not None:
            return self._version
        arguments = [str(self.binary), "version", "--template", "{{ .Version }}"]
        said = subprocess.run(arguments, capture_output=True, check=True, text=True, timeout=30)
        numbers = [int(number) for number in re.findall(r"\d+", said.stdout)][:3]
        self._version = semver.Version(*[*numbers, 0, 0, 0][:3])
        return self._version


def readable(stderr: bytes) -> str:
    """Helm's words as one line, short, without what could be a key or a certificate."""
    text = _SECRETS.sub("<redacted>", stderr.decode(errors="replace"))
    lines = (line.strip().removeprefix("Error: ").lstrip("- ") for line in text.splitlines())
    words = "; ".join(line for line in lines if line and not _NOISE.match(line))
    return words if len(words) <= _LONGEST_MESSAGE else words[: _LONGEST_MESSAGE - 1] + "…"


def _end_with(parent: int) -> None:
    """Runs in the child: a Helm whose operator is killed would act beside the next one."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # It was killed before the line above.
        os._exit(1)


async def _end(process: asyncio.subprocess.Process, talk: "asyncio.Future[tuple[bytes, bytes]]") -> None:
    if process.returncode is None:
        process.terminate()
    done, _ = await asyncio.wait([talk], timeout=GRACE_SECONDS)
    if not done:
        process.kill()
        await asyncio.wait([talk])
