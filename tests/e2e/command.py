"""The command as a person or a script calls it: to its end, on and on, or on a terminal."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.processes import NotInTime, wait_until

LIMIT = 60.0
COMMAND = str(Path(sys.executable).with_name("cilium-hybrid"))
CTRL_C = "\x03"
PATIENCE = 5.0
"""A person presses again."""


@dataclass(frozen=True)
class Said:
    """What the command said."""

    code: int
    out: str
    err: str


def call(env: Mapping[str, str], *arguments: str) -> Said:
    """Call it without a terminal, and wait for its end."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


class Running:
    """A call that goes on; `out` is what it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self._process, self._output, self._written = process, output, bytearray()

    @property
    def out(self) -> str:
        """What it has written so far."""
        while select.select([self._output], [], [], 0)[0]:
            try:
                chunk = os.read(self._output, 65536)
            except OSError:  # so a terminal tells that nobody is on it any more
                break
            if not chunk:
                break
            self._written += chunk
        return self._written.decode()

    def wait_for(self, told: Callable[[str], bool], what: str) -> str:
        """Wait until it has written something."""
        try:
            wait_until(lambda: told(self.out), timeout=LIMIT, what=what)
        except NotInTime as late:
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
        """Press Ctrl-C until it ends: between the prompt and the read behind it, Python's input() hears of none."""
        pressed = 0.0

        def ended() -> bool:
            nonlocal pressed
            if self._process.poll() is None and time.monotonic() - pressed > PATIENCE:
                self.type(CTRL_C)
                pressed = time.monotonic()
            return (self.out, self._process.poll() is not None)[1]

        wait_until(ended, timeout=LIMIT, what="the command ended by Ctrl-C")

    def end(self) -> int:
        """Wait for its end, and return its exit code."""
        wait_until(lambda: (self.out, self._process.poll() is not None)[1], timeout=LIMIT, what="the command ended")
        return self._process.wait()


@contextmanager
def running(env: Mapping[str, str], *arguments: str) -> Iterator[Running]:
    """Call it without a terminal, and let it run."""
    reads, writes = os.pipe()
    with _started(env, arguments, reads, stdin=subprocess.DEVNULL, stdout=writes) as started:
        yield started


@contextmanager
def terminal(env: Mapping[str, str], *arguments: str, lines: int = 40, columns: int = 120) -> Iterator[Running]:
    """Call it on a terminal of its own."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    on_it = dict(env) | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    with _started(on_it, arguments, master, stdin=slave, stdout=slave, controls=True) as started:
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
    """`controls`: the terminal on its stdin turns keys into signals for it."""
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
