"""Runs the `cilium-hybrid` command to its end, in the background, or on a terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.processes import WaitError, wait_until

LIMIT = 60.0
COMMAND = str(Path(sys.executable).with_name("cilium-hybrid"))
CTRL_C = "\x03"
RETRY_SECONDS = 5.0
"""After which Ctrl-C is pressed again."""


@dataclass(frozen=True)
class Result:
    """What a finished command returned and printed."""

    code: int
    out: str
    err: str


def run(env: Mapping[str, str], *arguments: str, stdin: str = "") -> Result:
    """Run it without a terminal, and wait until it ends."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env=os.environ | env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that is still running; `out` is what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self._process, self._output, self._written = process, output, bytearray()

    @property
    def out(self) -> str:
        """Return what it has printed so far."""
        while select.select([self._output], [], [], 0)[0]:
            try:
                chunk = os.read(self._output, 65536)
            except OSError:  # EIO: the last process on the terminal has ended
                break
            if not chunk:
                break
            self._written += chunk
        return self._written.decode()

    def wait_for(self, condition: Callable[[str], bool], what: str) -> str:
        """Wait until its output meets the condition."""
        try:
            wait_until(lambda: condition(self.out), timeout=LIMIT, what=what)
        except WaitError as late:
            late.add_note(self.out)
            raise
        return self.out

    def interrupt(self, number: int) -> None:
        """Send a signal to it."""
        self._process.send_signal(number)

    def type(self, keys: str) -> None:
        """Type on its terminal."""
        os.write(self._output, keys.encode())

    def interrupt_by_key(self) -> None:
        """Press Ctrl-C until it ends: Python's input() ignores it between printing the prompt and reading."""
        pressed = 0.0

        def ended() -> bool:
            nonlocal pressed
            if self._process.poll() is None and time.monotonic() - pressed > RETRY_SECONDS:
                self.type(CTRL_C)
                pressed = time.monotonic()
            return (self.out, self._process.poll() is not None)[1]

        wait_until(ended, timeout=LIMIT, what="the command ended by Ctrl-C")

    def wait(self) -> int:
        """Wait until it ends, and return its exit code."""
        wait_until(lambda: (self.out, self._process.poll() is not None)[1], timeout=LIMIT, what="the command ended")
        return self._process.wait()


@contextmanager
def running(env: Mapping[str, str], *arguments: str) -> Iterator[Running]:
    """Start it without a terminal."""
    reads, writes = os.pipe()
    with _started(env, arguments, reads, stdin=subprocess.DEVNULL, stdout=writes) as started:
        yield started


@contextmanager
def terminal(env: Mapping[str, str], *arguments: str, lines: int = 40, columns: int = 120) -> Iterator[Running]:
    """Start it on a new terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    variables = dict(env) | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    with _started(variables, arguments, master, stdin=slave, stdout=slave, controls=True) as started:
        yield started


@contextmanager
def _started(
    env: Mapping[str, str],
    arguments: tuple[str, ...],
    output: int,
    *,
    stdin: int,
    stdout: int,
    controls: bool = False,
) -> Iterator[Running]:
    """Start it. `controls`: its standard input becomes its controlling terminal, which turns Ctrl-C into a signal."""
    process = subprocess.Popen(
        [COMMAND, *arguments],
        env=os.environ | env,
        stdin=stdin,
        stdout=stdout,
        stderr=stdout,
        start_new_session=True,
        preexec_fn=_take_terminal if controls else None,  # noqa: PLW1509 # takes no lock
    )
    os.close(stdout)
    try:
        yield Running(process, output)
    finally:
        process.kill()
        process.wait()
        os.close(output)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A shell starts background jobs with SIGINT ignored, and children inherit that: the tests may run in one.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
