"""Child processes that end with their parent or are ended by process ID, and waiting with a timeout."""

import ctypes
import json
import os
import random
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")

POLL_EVERY = 0.05
KILL_LIMIT = 10.0
STATE_FILE = "processes.json"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
# Below the kernel's ephemeral ports, which any outgoing connection could occupy before the port is used.
PORTS = range(20_000, 32_000)


class CommandError(RuntimeError):
    """A command failed; the message contains its stderr."""


class WaitError(AssertionError):
    """An expected state was not reached."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, distinguished by its start time from any later process with the same ID."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of a process that certainly exists, such as a child that was not waited for."""
        return cls(pid, _stat(pid)[1])

    @property
    def alive(self) -> bool:
        """Whether exactly this process is running; a zombie is not."""
        try:
            state, started = _stat(self.pid)
        except OSError:
            return False
        return started == self.started and state not in "ZX"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to exactly this process, if it is running."""
        with _Handle(self) as handle:
            if handle.fd is not None:
                signal.pidfd_send_signal(handle.fd, number)

    def end(self, *, limit: float = 10.0) -> None:
        """End the process with SIGTERM, and with SIGKILL after `limit` seconds."""
        self._end((signal.SIGTERM, limit), (signal.SIGKILL, KILL_LIMIT))

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._end((signal.SIGKILL, KILL_LIMIT))

    def _end(self, *steps: tuple[signal.Signals, float]) -> None:
        with _Handle(self) as handle:
            for number, timeout in steps:
                if handle.fd is None:
                    return
                signal.pidfd_send_signal(handle.fd, number)
                # A stopped process does not handle SIGTERM.
                signal.pidfd_send_signal(handle.fd, signal.SIGCONT)
                if select.select([handle.fd], [], [], timeout)[0]:
                    return
        raise WaitError(f"process {self.pid} is still running after SIGKILL")


class _Handle:
    """A process file descriptor, which always refers to the same process even if its ID is reused."""

    def __init__(self, identity: Identity) -> None:
        self.fd: int | None = None
        self._identity = identity

    def __enter__(self) -> Self:
        try:
            self.fd = os.pidfd_open(self._identity.pid)
        except ProcessLookupError:
            return self
        if not self._identity.alive:
            self.__exit__()
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


@dataclass
class Process:
    """A program that logs to a directory; it can be restarted after it has ended."""

    name: str
    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    detached: bool = False
    identity: Identity | None = None
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        return self.identity is not None and self.identity.alive

    def start(self) -> Self:
        """Start the process; unless detached, it gets SIGKILL as soon as the calling thread ends."""
        if self._child is not None:
            # Reap the previous child, which has exited.
            self._child.wait()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env=os.environ | self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the parent only, which ends its children in order.
                start_new_session=True,
                preexec_fn=None if self.detached else partial(_die_with, os.getpid()),  # noqa: PLW1509 # takes no lock
            )
        self.identity = Identity.of(self._child.pid)
        return self

    def stop(self, *, limit: float = 10.0) -> None:
        """End the process with SIGTERM, and with SIGKILL after `limit` seconds, if it is running."""
        if self.identity is not None:
            self.identity.end(limit=limit)
        if self._child is not None:
            self._child.wait()

    def kill(self) -> None:
        """End the process with SIGKILL, and wait for its end."""
        if self.identity is not None:
            self.identity.kill()
        if self._child is not None:
            self._child.wait()

    def pause(self) -> None:
        """Freeze the process with SIGSTOP: its connections stay open, but it does not respond."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def tail(self, lines: int = 25) -> str:
        """Return the last lines of its log, each shortened to 500 characters."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.log}\n" + "\n".join(line[:500] for line in text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self.identity is not None:
            self.identity.send(number)


def _die_with(parent: int) -> None:
    """Make the kernel kill this child when its parent ends. Runs in the child, before its program."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def record(folder: Path, processes: Sequence[Process]) -> None:
    """Record the running processes in a file, so that a later process can control exactly these."""
    entries = [
        {
            "name": process.name,
            "argv": list(process.argv),
            "env": dict(process.env),
            "identity": asdict(process.identity),
        }
        for process in processes
        if process.identity is not None
    ]
    unfinished = folder / f"{STATE_FILE}.new"
    unfinished.write_text(json.dumps(entries, indent=1))
    unfinished.rename(folder / STATE_FILE)


def recorded(folder: Path) -> dict[str, Process]:
    """Return the processes that `record` wrote, by name; empty if nothing was recorded."""
    state = folder / STATE_FILE
    entries = json.loads(state.read_text()) if state.exists() else []
    return {
        entry["name"]: Process(
            entry["name"],
            entry["argv"],
            folder,
            entry["env"],
            detached=True,
            identity=Identity(**entry["identity"]),
        )
        for entry in entries
    }


def end_recorded(folder: Path) -> list[str]:
    """End every recorded process that is running, in reverse order; return their names."""
    running = [process for process in recorded(folder).values() if process.alive]
    for process in reversed(running):
        process.stop()
    (folder / STATE_FILE).unlink(missing_ok=True)
    return [process.name for process in running]


def start_on_free_port(
    build: Callable[[int], Process], ready: Callable[[int], bool], *, timeout: float, attempts: int = 3
) -> tuple[Process, int]:
    """Start the process that `build` returns for a port and wait until it is ready; return both.

    If another process has taken the port meanwhile, try again on another one.
    """
    while True:
        port = free_port()
        process = build(port).start()
        try:
            wait_until(lambda: ready(port), timeout=timeout, what=f"{process.name} is ready", needs=[process])  # noqa: B023
        except BaseException:
            process.kill()
            attempts -= 1
            if attempts == 0 or "address already in use" not in process.tail():
                raise
        else:
            return process, port


def free_port() -> int:
    """Return a loopback port that is free at the moment."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise WaitError(f"no free port in {PORTS}")


def wait_until(condition: Callable[[], T | None], *, timeout: float, what: str, needs: Sequence[Process] = ()) -> T:
    """Return the first true value of the condition.

    Raise `WaitError` after the timeout, or as soon as a process in `needs` has exited.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        polled_at = time.monotonic()
        try:
            if value := condition():
                return value
            last = value
        except (CommandError, OSError) as error:
            last = error
        exited = [process.name for process in needs if not process.alive]
        if exited or time.monotonic() > deadline:
            cause = f"{', '.join(exited)} exited" if exited else f"timed out after {timeout:g} s"
            logs = "\n".join(process.tail() for process in needs)
            raise WaitError(f"{what}: {cause}; last value: {last!r}\n{logs}".rstrip())
        # An expensive condition is polled less often, so that polling does not load the machine.
        time.sleep(max(POLL_EVERY, time.monotonic() - polled_at))


def run(argv: Sequence[str | Path], *, env: Mapping[str, str], stdin: str | None = None, timeout: float = 120.0) -> str:
    """Run a command and return its output; raise `CommandError` with its stderr if it fails."""
    done = subprocess.run(
        [str(word) for word in argv],
        env=os.environ | env,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        raise CommandError(f"{Path(argv[0]).name} {' '.join(map(str, argv[1:3]))}: {done.stderr.strip()}")
    return done.stdout


def _stat(pid: int) -> tuple[str, int]:
    """Return the state of a process and its start time in clock ticks since boot."""
    # The second field is the program's name, which may contain spaces and parentheses.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])
