"""Run the helm binary for pyhelm3: without a shell, within a deadline, with errors that hold no secrets."""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import semver
import yaml
from pyhelm3 import Command

from cilium_hybrid.adapters.helm import post_renderer, process
from cilium_hybrid.adapters.helm.messages import describe_stderr, shorten
from cilium_hybrid.ports import HelmInterruptedError

log = logging.getLogger(__name__)

READ_SECONDS: Final = 60.0
"""For a command that changes nothing. Each takes about a second; the rest is for a slow registry or API server."""
WRITE_SECONDS: Final = 420.0
"""For a command that changes a release: Helm's own limit of five minutes for hooks and deletions, and two minutes for
its requests to the API server, which have no limit of their own."""
_WRITES: Final = frozenset({"install", "rollback", "uninstall", "upgrade"})
_VERSION_SECONDS: Final = 10.0
"""Once per process, while the event loop waits."""


class HelmError(Exception):
    """Helm failed or could not be started; the message is Helm's own, shortened and without secrets.

    `details` is the same, not shortened: what is wrong may be at its end.
    """

    def __init__(self, details: str) -> None:
        super().__init__(shorten(details))
        self.details = details


class HelmTimeoutError(HelmError):
    """Helm did not end within its `seconds`, and was stopped; what it was doing may be half done."""

    def __init__(self, command: str, seconds: float) -> None:
        super().__init__(f"helm {command} did not end within {seconds:g} s and was stopped")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class HelmOutput:
    """What Helm printed."""

    stdout: bytes
    stderr: bytes


class HelmCommand(Command):  # type: ignore[misc] # pyhelm3 has no types
    """Replaces pyhelm3's Command, which runs `sh -c`: cancelling it would leave Helm running (docs/decisions/0002).

    `finished` is called after each run with Helm's command (`upgrade --dry-run` is not `upgrade`), the seconds it took
    and whether it succeeded.
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
            # Helm runs a post-renderer only as a plugin.
            "HELM_PLUGINS": str(Path(__file__).with_name("plugins")),
            "CILIUM_HYBRID_PYTHON": sys.executable,
            "CILIUM_HYBRID_POST_RENDERER": post_renderer.__file__,
        }
        self._options: Sequence[str] = ()
        self._version: semver.Version | None = None

    @contextmanager
    def with_options(self, *options: str) -> Iterator[None]:
        """Add options to `helm upgrade` within this context; pyhelm3 has no arguments for them."""
        self._options = options
        try:
            yield
        finally:
            self._options = ()

    async def run(self, command: Sequence[Any], input: bytes | None = None) -> bytes:  # noqa: A002 # pyhelm3's name
        """Run Helm and return its standard output; HelmError, HelmInterruptedError."""
        arguments = [str(part) for part in command]
        if arguments[0] == "upgrade":
            arguments += self._options
            if input is not None:
                # Helm's parser of YAML rejects JSON's escapes of characters beyond U+FFFF, such as emoji.
                input = await asyncio.to_thread(dump_values, json.loads(input))  # noqa: A001
        return (await self.execute(arguments, input)).stdout

    async def execute(self, arguments: Sequence[str], stdin: bytes | None = None) -> HelmOutput:
        """Run Helm and return what it printed; HelmError, HelmTimeoutError after its deadline, HelmInterruptedError."""
        name, seconds = _name(arguments), deadline(arguments)
        log.debug("helm %s", name)
        started = time.monotonic()
        try:
            ended = await process.run([str(self.binary), *arguments], stdin, self._environment, seconds)
        except OSError as error:
            raise HelmError(f"cannot start {self.binary}: {error.strerror or error}") from None
        self._finished(name, time.monotonic() - started, not ended.code and not ended.timed_out)
        if ended.timed_out:
            raise HelmTimeoutError(name, seconds)
        if ended.too_long:
            raise HelmError(f"helm {name} printed more than {process.MAX_STDOUT >> 20} MiB and was stopped")
        if ended.code < 0:
            raise HelmInterruptedError(
                f"Helm was killed by signal {-ended.code}; check the memory limit and the events of the operator's pod"
            )
        if ended.code:
            raise HelmError(describe_stderr(ended.stderr) or f"helm {name} failed with exit code {ended.code}")
        return HelmOutput(ended.stdout, ended.stderr)

    def client_version(self) -> semver.Version:
        """Return Helm's version, cached. A Helm built from source reports v4.3, which pyhelm3 cannot parse."""
        if self._version is not None:
            return self._version
        arguments = [str(self.binary), "version", "--template", "{{ .Version }}"]
        try:
            result = subprocess.run(arguments, capture_output=True, check=True, text=True, timeout=_VERSION_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise HelmError(f"cannot run {self.binary} version: {error}") from None
        numbers = [int(number) for number in re.findall(r"\d+", result.stdout)][:3]
        self._version = semver.Version(*[*numbers, 0, 0, 0][:3])
        return self._version


def dump_values(values: Mapping[str, Any]) -> bytes:
    """Return values as YAML, for the standard input of Helm."""
    return yaml.dump(dict(values), Dumper=yaml.CSafeDumper).encode()


def deadline(arguments: Sequence[str]) -> float:
    """Return how many seconds Helm may take with these arguments."""
    return WRITE_SECONDS if arguments[0] in _WRITES and not _is_dry_run(arguments) else READ_SECONDS


def _name(arguments: Sequence[str]) -> str:
    return f"{arguments[0]} --dry-run" if _is_dry_run(arguments) else arguments[0]


def _is_dry_run(arguments: Sequence[str]) -> bool:
    return any(argument.startswith("--dry-run") for argument in arguments)
