"""Child processes that end with their parent or by their ids, and waiting with a limit."""

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
# Under the kernel's ephemeral ports: any outgoing connection could take one of those between choice and use.
PORTS = range(20_000, 32_000)


class CommandError(RuntimeError):
    """A command that ended with an error; the message holds what it wrote to stderr."""


class NotInTime(AssertionError):  # noqa: N818 - a failed expectation, not a fault of the program
    """Something awaited did not come about."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process told apart from any later one with the same id."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Identify a process that surely runs: a child not yet waited for."""
        return cls(pid, _stat(pid)[1])

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        try:
            state, started = _stat(self.pid)
        except OSError:
            return False
        return started == self.started and state not in "ZX"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this very process; nothing happens when it is gone."""
        with _Handle(self) as handle:
            if handle.fd is not None:
                signal.pidfd_send_signal(handle.fd, number)

    def end(self, *, limit: float = 10.0) -> None:
        """End it with SIGTERM, and with SIGKILL after the limit."""
        self._end((signal.SIGTERM, limit), (signal.SIGKILL, KILL_LIMIT))

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end((signal.SIGKILL, KILL_LIMIT))

    def _end(self, *steps: tuple[signal.Signals, float]) -> None:
        with _Handle(self) as handle:
            for number, patience in steps:
                if handle.fd is None:
                    return
                signal.pidfd_send_signal(handle.fd, number)
                # A frozen process takes no notice of SIGTERM.
                signal.pidfd_send_signal(handle.fd, signal.SIGCONT)
                if select.select([handle.fd], [], [], patience)[0]:
                    return
        raise NotInTime(f"process {self.pid} is still there after SIGKILL")


class _Handle:
    """A process file descriptor: from here on the id cannot come to mean another process."""

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
    """A program with its log in a folder; it may be started again after it ended."""

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
        """Start it; unless detached it gets SIGKILL as soon as the thread that called this ends."""
        if self._child is not None:
            # It ended by itself, and nobody has asked how.
            self._child.wait()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env=os.environ | self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the owner, who ends its children in an order.
                start_new_session=True,
                preexec_fn=None if self.detached else partial(_die_with, os.getpid()),  # noqa: PLW1509 # takes no lock
            )
        self.identity = Identity.of(self._child.pid)
        return self

    def stop(self, *, limit: float = 10.0) -> None:
        """End it with SIGTERM, and with SIGKILL after the limit; nothing happens when it is gone."""
        if self.identity is not None:
            self.identity.end(limit=limit)
        if self._child is not None:
            self._child.wait()

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        if self.identity is not None:
            self.identity.kill()
        if self._child is not None:
            self._child.wait()

    def pause(self) -> None:
        """Freeze it: its connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    def tail(self, lines: int = 25) -> str:
        """Return the end of its log, for people."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.log}\n" + "\n".join(line[:500] for line in text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self.identity is not None:
            self.identity.send(number)


def _die_with(parent: int) -> None:
    """Runs in the child, before its program: it is tied from its first moment on."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def record(folder: Path, processes: Sequence[Process]) -> None:
    """Write which processes run, so that a later process can end or steer exactly these."""
    entries = [
        {"name": one.name, "argv": list(one.argv), "env": dict(one.env), "identity": asdict(one.identity)}
        for one in processes
        if one.identity is not None
    ]
    unfinished = folder / f"{STATE_FILE}.new"
    unfinished.write_text(json.dumps(entries, indent=1))
    unfinished.rename(folder / STATE_FILE)


def recorded(folder: Path) -> dict[str, Process]:
    """Return the processes that `record` wrote, by name; none where nothing was written."""
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
    """End every recorded process that still runs, the last started first; return their names."""
    running = [process for process in recorded(folder).values() if process.alive]
    for process in reversed(running):
        process.stop()
    (folder / STATE_FILE).unlink(missing_ok=True)
    return [process.name for process in running]


def start_on_free_port(
    build: Callable[[int], Process], ready: Callable[[int], bool], *, timeout: float, attempts: int = 3
) -> tuple[Process, int]:
    """Start what `build` makes for a port, on another one if that was taken meanwhile, until it is ready."""
    while True:
        port = free_port()
        process = build(port).start()
        try:
            wait_until(lambda: ready(port), timeout=timeout, what=f"{process.name} answers", needs=[process])  # noqa: B023
        except BaseException:
            process.kill()
            attempts -= 1
            if attempts == 0 or "address already in use" not in process.tail():
                raise
        else:
            return process, port


def free_port() -> int:
    """Return a loopback port on which nothing listens at this moment."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NotInTime(f"no free port in {PORTS}")


def wait_until(condition: Callable[[], T | None], *, timeout: float, what: str, needs: Sequence[Process] = ()) -> T:
    """Return the condition's first true value; fail at the limit, or when a needed process has ended."""
    deadline = time.monotonic() + timeout
    while True:
        last: object
        asked = time.monotonic()
        try:
            if value := condition():
                return value
            last = value
        except (CommandError, OSError) as error:
            last = error
        dead = [process.name for process in needs if not process.alive]
        if dead or time.monotonic() > deadline:
            why = f"{', '.join(dead)} ended" if dead else f"not within {timeout:g} s"
            logs = "\n".join(process.tail() for process in needs)
            raise NotInTime(f"{what}: {why}; last seen: {last!r}\n{logs}".rstrip())
        # A condition that costs much must not become the load itself.
        time.sleep(max(POLL_EVERY, time.monotonic() - asked))


def run(argv: Sequence[str | Path], *, env: Mapping[str, str], stdin: str | None = None, timeout: float = 120.0) -> str:
    """Run a command to its end and return what it printed; raise with its stderr when it fails."""
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
    """Return a process's state and the moment of its start, as the kernel counts."""
    # The second field is the program's name, which may hold spaces and brackets.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])
